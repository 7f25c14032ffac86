"""OpenAI's Responses API: bodies that become chats, responses made of answers, and what is kept."""
