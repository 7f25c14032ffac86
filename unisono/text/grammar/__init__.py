"""Constraints on tokens: what an answer may say next."""
