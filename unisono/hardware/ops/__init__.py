"""The op table: every op in plain torch, the reference, and its parts."""
