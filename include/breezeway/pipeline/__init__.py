"""The work of each step, without its command line."""
