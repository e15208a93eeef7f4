"""Recipes: data to policy to figures, one command each."""
