# No types of its own: what basedpyright infers from its code, for all its backends, fits none of them.
from typing import Any

def __getattr__(name: str) -> Any: ...
