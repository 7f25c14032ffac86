"""Chat templates: found, checked, and rendered in a limited process."""
