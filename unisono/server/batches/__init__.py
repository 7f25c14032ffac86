"""OpenAI's Files and Batch API: many requests from a file, answered into another."""
