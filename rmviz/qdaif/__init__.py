"""Maps of a reward model: the best poem of every tone and genre that a quality-diversity search finds for it."""
