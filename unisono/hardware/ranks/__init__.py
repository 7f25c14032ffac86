"""Communication between the ranks of one model."""
