"""Random square variants of pictures, as training examples."""
