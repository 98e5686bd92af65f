"""From raw readings to features, out of core."""
