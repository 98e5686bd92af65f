"""Where raw readings and labels lie, and how they are read."""
