"""What `make repro` adds to `dvc repro`: results at hand are used, and a summary at the end."""
