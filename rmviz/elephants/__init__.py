"""Preference data from drifting conversations, and where each of its strings came from."""
