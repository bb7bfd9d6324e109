"""Additions of `make repro` to `dvc repro`: earlier results from the run cache, and a summary at the end."""
