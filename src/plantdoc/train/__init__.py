"""Training of the detector: input pipeline, optimizer, learning rate, checkpoints, lineage."""
