"""Continuous training and zero-downtime serving for sensor models."""
