"""Images: decoding, geometry, batches, and the one entry for all forms of input."""
