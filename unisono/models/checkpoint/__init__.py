"""A checkpoint's files: names, tensors, and what is kept of them between starts."""
