"""The ranks of one model: their processes, and the frames between them."""
