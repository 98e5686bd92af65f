"""Dataset versions in git and DVC."""
