"""The raw store: readings and labels, and how they are read."""
