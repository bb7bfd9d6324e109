"""Augmentation as an Apache Beam pipeline: the records of the local engine, made by many machines."""
