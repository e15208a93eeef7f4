"""Names for features: proposed from the texts they fire on and from their effects, and scored on texts kept aside."""
