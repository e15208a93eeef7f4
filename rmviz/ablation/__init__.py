"""The effect engine: what the reward loses without a feature."""
