"""What every other package stands on: errors, settings, names, locks, arguments, Ray."""
