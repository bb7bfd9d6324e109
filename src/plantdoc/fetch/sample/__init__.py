"""The synthetic sample data set: pictures of leaves that the project draws."""
