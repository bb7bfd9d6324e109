"""The detector as it is served: from encoded pictures to boxes."""
