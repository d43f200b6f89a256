"""The contract that every other part keeps: classifier, images, results, registry, rows, seeds, hooks, layers."""
