"""Preference pairs: read, validate, split."""
