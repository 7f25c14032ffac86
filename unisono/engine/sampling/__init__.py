"""The choice of tokens from the logits of a step."""
