"""What the other packages share: errors, settings, names, locks, arguments, Ray."""
