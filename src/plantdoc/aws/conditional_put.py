"""Write an object to S3 only where there is none yet."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

_TRIES = 10
_FIRST, _LONGEST = 0.2, 10.0  # seconds between two of them, drawn from the upper half


def put_new(client, *, pause: Callable[[float], None] = time.sleep, **put: Any) -> bool:
    """Call PutObject with `If-None-Match: *`; returns whether the object was written, False where there was one.

    S3 answers 412 where the object is there, and 409 (ConditionalRequestConflict) where another request for it is under
    way, which may yet fail: then this one is repeated
    (docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). After a lost answer a repeated request may
    find what it wrote itself: callers compare the content.

    Args:
        client: of S3.
        pause: waits for seconds.
        put: arguments of PutObject: Bucket, Key, Body, …; a Body that is a file has to be seekable.

    Raises:
        ClientError: S3 refuses otherwise, or still has a conflict after _TRIES.
    """
    from botocore.exceptions import ClientError

    body: Any = put.get("Body")
    wait = _FIRST
    start = body.tell() if hasattr(body, "seek") else 0
    for left in reversed(range(_TRIES)):
        try:
            client.put_object(**put, IfNoneMatch="*")
            return True
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 412:
                return False
            if status != 409 or not left:
                raise
        if hasattr(body, "seek"):
            body.seek(start)
        pause(wait * random.uniform(0.5, 1))
        wait = min(2 * wait, _LONGEST)
    raise AssertionError("the last try returns or raises")
