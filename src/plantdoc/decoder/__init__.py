"""The one decoder of pictures, for fetch, evaluate, the local server and SageMaker's container.

Travels in the bundle: it needs Pillow and the standard library, and pillow-heif for HEIC where that is asked for.
"""
