"""One module for each step; each is a command: `python -m breezeway.steps.<step> --help`."""
