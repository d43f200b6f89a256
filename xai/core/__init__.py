"""What every room shares: images, models, tasks, layers, running, results."""
