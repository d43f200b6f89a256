"""Results: saving, loading, drawing."""
