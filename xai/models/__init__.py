"""Where classifiers come from: named models, hubs and files."""
