"""Ollama's API: its bodies become chats and completions, answers its lines."""
