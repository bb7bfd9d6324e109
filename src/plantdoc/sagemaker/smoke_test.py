"""Ask the endpoint about test pictures, and hold its answers against what is known."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from plantdoc.deploy import parity
from plantdoc.sagemaker.bundle_source import Expected
from plantdoc.sagemaker.context import Context

# What says that the endpoint cannot answer, in contrast to a person who may not ask.
_BROKEN = (
    "ModelError",
    "ModelNotReadyException",
    "InternalFailure",
    "InternalDependencyException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "ValidationError",
)
# All that the model finds, as evaluate wrote it down.
_ALL = "threshold=0,max=1000"


class Broken(Exception):
    """The endpoint gave no answer, or one that says what is wrong with the picture."""


def ask(context: Context, endpoint: str, file: Path) -> dict:
    """The endpoint's answer about a picture.

    Raises:
        Broken: it gives none.
    """
    from botocore.exceptions import ClientError, HTTPClientError

    data = file.read_bytes()
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    try:
        answered = context.runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType=kind, Accept="application/json", Body=data, CustomAttributes=_ALL
        )
        answer = json.loads(answered["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] not in _BROKEN:
            raise
        raise Broken(error.response["Error"].get("Message") or error.response["Error"]["Code"]) from None
    except (HTTPClientError, ValueError) as error:
        raise Broken(str(error)) from None
    if "error" in answer:
        raise Broken(str(answer["error"].get("message", answer["error"])))
    return answer


def test(context: Context, endpoint: str, version: str, expected: Expected) -> tuple[list[str], dict]:
    """Ask about all expected pictures; returns what is wrong, a line each, and figures of the answers."""
    files = {each.id: expected.folder / each.file_name for each in expected.split.pictures if each.id in expected.ids}
    rows, times, faults = [], [], []
    for number, file in files.items():
        started = time.monotonic()
        try:
            answer = ask(context, endpoint, file)
        except Broken as broken:
            faults.append(f"{file.name}: {broken}")
            break  # another may take a minute to fail, too
        times.append(time.monotonic() - started)
        if answer.get("model") != version:
            faults.append(f"{file.name}: answered by {answer.get('model')}, not by {version}")
            break
        rows += [
            {"image_id": number, "category_id": each["class_id"], "bbox": each["box"], "score": each["score"]}
            for each in answer["detections"]
        ]
    if not faults:
        faults = parity.differences(expected.rows, rows, expected.config, expected.split, expected.ids)
    figures = {
        "pictures": len(times),
        "detections": len(rows),
        "differences": len(faults),
        "against": expected.known_by,
        "boxes_within_px": parity.BOX_WITHIN,
        "scores_within": parity.SCORE_WITHIN,
        "first_seconds": round(times[0], 2) if times else None,
        "seconds": round(sum(times), 2),
        "median_seconds": round(statistics.median(times), 3) if times else None,
    }
    return faults, figures
