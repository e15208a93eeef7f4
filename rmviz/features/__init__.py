"""What each feature fires on, prepared for browsing."""
