"""Embeddings, scores and rerankings: bodies, work and responses."""
