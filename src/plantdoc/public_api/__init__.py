"""The public API: a function on AWS in front of the SageMaker endpoint, and the stack that holds it."""
