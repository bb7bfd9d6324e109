"""The bundle that is shipped, its model card, and the checks that it must pass."""
