"""The execution of an audit: plan, keys, store, stages, runs."""
