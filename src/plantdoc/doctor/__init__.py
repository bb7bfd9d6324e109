"""What must be there before a job is begun."""
