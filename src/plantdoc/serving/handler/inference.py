"""Entry of the bundle in SageMaker's TensorFlow container: `handler`, which it calls for each request.

The container runs this file as code/inference.py, beside a copy of this folder, in front of TensorFlow
Serving with the model. It can answer 200 or 500 and nothing between, so a refusal is a 200 whose body is
`{"error": {"status", "code", "message"}}`. Options come as custom attributes: `threshold=0.5,max=10`.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from plantdoc.serving.handler import request, response, uploaded_image
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.uploaded_image import UploadedImage

log = logging.getLogger("plantdoc")
SERVING = json.loads((Path(__file__).resolve().parent.parent / "serving.json").read_text(encoding="utf-8"))
MODEL = os.environ.get("MODEL_VERSION", "detector")


def handler(data, context) -> tuple[bytes, str]:
    """Answer a request: `data` is its body, a stream; `context` names its type, its options and the model's address."""
    started = time.perf_counter()
    try:
        options = request.options((), context.custom_attributes)
        sent = request.read(context.request_content_type or "", data.read(), options)
        options = sent.options
        threshold = SERVING["threshold"] if options.threshold is None else options.threshold
        photos = [_checked(each) for each in sent.pictures]
        rows = iter(_found([each for each in photos if isinstance(each, UploadedImage)], context.rest_uri))
        predictions = []
        for each in photos:
            if isinstance(each, Refused):
                predictions.append(each)
                continue
            row = next(rows)
            predictions.append(row if isinstance(row, Refused) else response.of_one(each, row, threshold, options.most))
        milliseconds = 1000 * (time.perf_counter() - started)
        content = response.body(predictions, sent.many, MODEL, threshold, milliseconds)
    except Refused as refused:
        content = response.refusal(refused)
    except Exception:
        # The container would tell the caller its text, with paths and addresses.
        log.exception("a request failed")
        raise RuntimeError("the detector failed; its log says why") from None
    return json.dumps(content, ensure_ascii=False).encode(), request.JSON


def _checked(sent: bytes | Refused) -> UploadedImage | Refused:
    if isinstance(sent, Refused):
        return sent
    try:
        return uploaded_image.read(sent, SERVING["max_pixels"])
    except Refused as refused:
        return refused


def _found(photos: list[UploadedImage], url: str) -> list[dict | Refused]:
    """The model's rows for the photos, in one call; where it refuses, one by one, to find the damaged one."""
    if not photos:
        return []
    instances = [
        {"image_bytes": {"b64": base64.b64encode(each.data).decode()}, "orientation": each.orientation}
        for each in photos
    ]
    asked = urllib.request.Request(
        url,
        json.dumps({"signature_name": "serving_default", "instances": instances}).encode(),
        {"Content-Type": request.JSON},
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as answered:
            return json.load(answered)["predictions"]
    except urllib.error.HTTPError as error:
        if error.code != 400:
            raise
        if len(photos) == 1:
            return [uploaded_image.undecodable(photos[0])]
        return [row for each in photos for row in _found([each], url)]
