"""TFRecord shards of training examples, written and read without TensorFlow."""
