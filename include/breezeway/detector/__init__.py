"""A detector: fit, score, choose a threshold, judge."""
