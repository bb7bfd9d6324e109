"""A detector on SageMaker: deployed, updated, rolled back, taken away. No TensorFlow here."""
