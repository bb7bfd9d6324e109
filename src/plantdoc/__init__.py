"""The library that the five stages share: one noun per file."""
