"""Programs that a model has a say in, in processes of their own under limits.

Knows how to hold and limit them; nothing of templates or tokenizers.
"""
