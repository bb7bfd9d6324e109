"""The library that the five stages share: in rooms; a stage's room has its name."""
