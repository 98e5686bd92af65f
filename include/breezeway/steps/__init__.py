"""One module a step; each is a command: `python -m breezeway.steps.<step> --help`."""
