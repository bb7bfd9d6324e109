"""The request handler that travels in the bundle. Needs Pillow and the standard library alone."""
