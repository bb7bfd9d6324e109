"""Prerequisites of a job, checked before it starts."""
