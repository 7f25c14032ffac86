"""Weights as a device holds them: levels, codes, GGUF blocks and packed layouts."""
