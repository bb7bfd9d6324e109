"""What `make repro` adds to `dvc repro`: earlier results from the run cache, and a summary at the end."""
