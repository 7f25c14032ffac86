"""GGUF files read as checkpoints: configuration, names and tensors."""
