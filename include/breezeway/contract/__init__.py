"""The sensor contract: what a reading is, and which features are computed from it."""
