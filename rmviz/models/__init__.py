"""Reward models of any family behind one class."""
