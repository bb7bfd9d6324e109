"""The tag of all that this project makes on AWS; rights in infra/*.yaml are limited to it."""

from __future__ import annotations

# src/plantdoc/ec2/reaper.py repeats it: that file alone is what AWS runs.
PROJECT = "plant-disease-detector"
TAG = {"project": PROJECT}
