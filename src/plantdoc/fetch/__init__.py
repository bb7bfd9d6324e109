"""Bring a source of annotated pictures to disk, audit it, and split it."""
