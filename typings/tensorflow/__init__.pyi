# TensorFlow has no types, and typeshed's refuse valid code, such as `boxes[..., None]`.
from typing import Any

def __getattr__(name: str) -> Any: ...
