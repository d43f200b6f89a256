"""What an audit leaves: its document, artifacts, comparisons."""
