"""Jobs that make models."""
