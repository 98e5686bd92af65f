"""Statistics that decide whether something has changed."""
