"""Probes: edits of texts that should not matter, what they cost, and which features carry that."""
