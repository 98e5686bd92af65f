"""The model: fit it, score with it, choose its alarm threshold, evaluate it."""
