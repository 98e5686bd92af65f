"""One module a command that a person calls: `breezeway <command> --help`."""
