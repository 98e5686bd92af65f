"""What each step does, without its command line."""
