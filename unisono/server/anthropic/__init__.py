"""Anthropic's Messages API: bodies that become chats, and responses made of answers."""
