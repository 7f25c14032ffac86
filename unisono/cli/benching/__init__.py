"""``unisono bench``: its runs, its figures, and the limits they are compared with."""
