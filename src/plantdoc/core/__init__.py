"""Shared basics of stages and scripts: params, errors, processes, hashes, and the frame around `main`."""
