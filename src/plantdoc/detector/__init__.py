"""The detector: networks, label assignment, non-maximum suppression, and TensorFlow's setup."""
