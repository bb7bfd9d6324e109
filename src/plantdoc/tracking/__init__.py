"""Weights & Biases: the run of a training and what it shows."""
