"""Curves, operating threshold and confidence intervals of a detector's scores."""
