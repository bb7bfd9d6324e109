"""Versions of the detector: which experiment becomes one, and which revision made a given model."""
