"""`init_audit`: a commented xai.toml, a workflow and a test to start from."""
