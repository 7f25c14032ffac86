"""Drafts of tokens, which a step computes beside the one it has to, and what they are worth.

They change how soon tokens come, never which: a draft is taken exactly when it is the token that
would have come anyway (``sampling/positions.py``).
"""
