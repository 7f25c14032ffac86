"""Fields of reasoning in bodies of chats."""
