"""Whether an explanation can be believed, and whether several agree."""
