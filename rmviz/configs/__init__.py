"""Every knob: one frozen dataclass per job kind."""
