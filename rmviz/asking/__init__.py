"""Language models that are asked: on this machine or on a server, their answers kept as they come."""
