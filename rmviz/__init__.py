"""rmviz: see what reward models want."""
