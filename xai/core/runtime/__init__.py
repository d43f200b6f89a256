"""Running: batches within memory, randomness per image, one pass over a data set."""
