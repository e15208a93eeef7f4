"""One dictionary for two reward models: which features both have, and which only one."""
