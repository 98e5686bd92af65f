"""From raw readings to features, for data larger than memory."""
