"""Where images come from: folders, tables, array files and examples."""
