"""Groups: differences between them, with exact inference."""
