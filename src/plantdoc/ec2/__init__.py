"""Training on a machine on EC2, from the side of the person who asked for it."""
