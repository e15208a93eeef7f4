"""The only door to disk: workspace, artifacts, catalogue, tables."""
