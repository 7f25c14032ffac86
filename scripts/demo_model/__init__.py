"""The built-in demo model: its grammar, tokenizer, training and evaluation."""
