"""The planted world: texts, preferences and models whose true reward is known."""
