"""From what a model writes to the parts of its answer: content, reasoning, tool calls."""
