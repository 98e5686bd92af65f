"""One module for each command that a person calls: `breezeway <command> --help`."""
