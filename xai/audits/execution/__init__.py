"""The execution of an audit: plan, stages, store, run."""
