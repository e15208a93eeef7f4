"""Sparse autoencoders: training, SAELens files, report card."""
