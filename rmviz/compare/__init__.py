"""Two or many reward models on the same preference pairs."""
