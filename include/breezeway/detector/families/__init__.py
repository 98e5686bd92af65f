"""Kinds of detectors: one module a family, behind the interface of `family.py`."""
