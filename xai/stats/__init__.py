"""Statistical tests and intervals, with numpy and scipy only."""
