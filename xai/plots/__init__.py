"""Images of results; nothing here computes."""
