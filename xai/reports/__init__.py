"""Reports of audits and explanations."""
