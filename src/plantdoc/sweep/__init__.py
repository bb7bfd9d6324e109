"""Experiments side by side: which ones, each in a copy of its own, and how they did."""
