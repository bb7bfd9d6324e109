"""Ask the endpoint about test pictures, and hold its answers against what is known."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from plantdoc.deploy import parity
from plantdoc.sagemaker.bundle_source import Expected
from plantdoc.sagemaker.context import Context

# What says that the endpoint cannot answer, in contrast to a person who may not ask.
_BROKEN = ("ModelError", "InternalFailure", "InternalDependencyException", "ValidationError")
# What says nothing of the model: its resources are being provisioned, or others ask as well. By code or status, since
# the API documents ModelNotReadyException and ServiceUnavailable, and throttling comes from the service in front.
_AWAY = ("ModelNotReadyException", "ServiceUnavailable", "ServiceUnavailableException", "ThrottlingException")
_AWAY_STATUS = (429, 503)
# In SageMaker's own ModelError for a container that has not answered in 60 seconds: a cold one starts meanwhile.
_TIMED_OUT = "timed out"
_PATIENCE = 300.0  # seconds for an endpoint to start, after AWS has said that it is in service
_PAUSE = (2.0, 15.0)  # seconds between two tries, at first and at most
# All that the model finds, as evaluate wrote it down.
_ALL = "threshold=0,max=1000"


class Broken(Exception):
    """The endpoint gave no answer, or one that says what is wrong with the picture."""


class Away(Broken):
    """The endpoint cannot be reached now, which says nothing of its model."""


class Slow(Broken):
    """The container has not answered in time: it is starting, or too slow."""


def ask(context: Context, endpoint: str, file: Path) -> dict:
    """The endpoint's answer about a picture.

    Raises:
        Broken: it gives none; Away or Slow where it may give one later.
    """
    from botocore.exceptions import ClientError, HTTPClientError, ReadTimeoutError

    data = file.read_bytes()
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    try:
        answered = context.runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType=kind, Accept="application/json", Body=data, CustomAttributes=_ALL
        )
        answer = json.loads(answered["Body"].read())
    except ClientError as error:
        raise _refusal(error) from None
    except ReadTimeoutError as error:
        raise Slow(str(error)) from None
    except (HTTPClientError, ValueError) as error:
        raise Broken(str(error)) from None
    if "error" in answer:
        raise Broken(str(answer["error"].get("message", answer["error"])))
    return answer


def _refusal(error) -> Exception:
    about = error.response.get("Error", {})
    code, said = about.get("Code", ""), about.get("Message") or about.get("Code", "")
    if code in _AWAY or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _AWAY_STATUS:
        return Away(f"{code}: {said}")
    if code == "ModelError" and _TIMED_OUT in said:
        return Slow(said)
    return Broken(said) if code in _BROKEN else error


class Patience:
    """Ask an endpoint until it answers, for five minutes in all.

    An endpoint in service may be cold: a serverless one provisions its container at the first request.

    Args:
        context: its clock is waited by.
        endpoint: its name.
    """

    def __init__(self, context: Context, endpoint: str):
        self._context, self._endpoint = context, endpoint
        self._until = context.clock.now() + _PATIENCE
        self._warm = False

    def ask(self, file: Path) -> tuple[dict, float]:
        """The answer about a picture, and the seconds that the request took which got it.

        Raises:
            Broken: it gives none, or is still starting after five minutes; once it has answered, being slow is a fault.
        """
        clock, pause = self._context.clock, _PAUSE[0]
        while True:
            started = clock.now()
            try:
                answer = ask(self._context, self._endpoint, file)
            except (Away, Slow) as why:
                if self._warm and isinstance(why, Slow):
                    raise
                if clock.now() + pause > self._until:
                    raise Broken(f"no answer after {_PATIENCE / 60:.0f} minutes: {why}") from None
                print(f"deploy: {self._endpoint} does not answer yet ({_short(why)}), asking it again", flush=True)
            else:
                self._warm = True
                return answer, clock.now() - started
            clock.sleep(pause)
            pause = min(2 * pause, _PAUSE[1])


def _short(why: Exception) -> str:
    """The first sentence of an error."""
    return str(why).partition(". ")[0].rstrip(".")


def test(context: Context, endpoint: str, version: str, expected: Expected) -> tuple[list[str], dict]:
    """Ask about all expected pictures; returns what is wrong, a line each, and figures of the answers."""
    files = {each.id: expected.folder / each.file_name for each in expected.split.pictures if each.id in expected.ids}
    rows, times, faults = [], [], []
    asked = Patience(context, endpoint)
    for number, file in files.items():
        try:
            answer, seconds = asked.ask(file)
        except Broken as broken:
            faults.append(f"{file.name}: {broken}")
            break  # another may take a minute to fail, too
        times.append(seconds)
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
