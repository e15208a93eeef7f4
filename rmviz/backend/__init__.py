"""The live side: service with loaded models, and the client that pages use."""
