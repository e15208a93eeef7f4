"""Shared widgets and cached loaders; the only folder here that imports Streamlit."""
