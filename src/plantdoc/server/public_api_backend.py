"""Answers from the public API."""

from __future__ import annotations

import http.client
import logging
import urllib.error
import urllib.parse
import urllib.request

from plantdoc.core.errors import UserError
from plantdoc.server import remote_backend
from plantdoc.serving.handler import request, response
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options

log = logging.getLogger("plantdoc")
_SECONDS = 60
_PREDICT = "/predict"


class PublicApi(remote_backend.RemoteBackend):
    """The API that `make api` makes.

    Args:
        url: where it is, with or without `/predict` at its end.
        key: what it takes as `x-api-key`; None where it needs none.

    Raises:
        UserError: it is no URL, or no key.
    """

    source = "api"

    def __init__(self, url: str, key: str | None = None):
        super().__init__("the public API")
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.username:
            raise UserError(
                f"{url} is no URL of an API: write it like https://abc.execute-api.eu-central-1.amazonaws.com"
            )
        if key and not (key.isascii() and key.isprintable()):
            raise UserError("PLANTDOC_API_KEY holds characters that no key has: set it to what `make api` printed")
        self._url = url.rstrip("/").removesuffix(_PREDICT) + _PREDICT
        self._key = key
        self._opener = urllib.request.build_opener(_NoRedirect)

    def one(self, picture: bytes, options: Options) -> dict:
        query = urllib.parse.urlencode(remote_backend.chosen(options))
        headers = {"Content-Type": remote_backend.kind(picture), "Accept": request.JSON}
        if self._key:
            headers["x-api-key"] = self._key
        asked = urllib.request.Request(self._url + (f"?{query}" if query else ""), picture, headers)
        try:
            with self._opener.open(asked, timeout=_SECONDS) as answered:
                return remote_backend.read(answered.read(remote_backend.MAX_ANSWER))
        except urllib.error.HTTPError as error:
            raise self._explained(error) from None
        except (OSError, http.client.HTTPException) as error:
            log.error("%s cannot be reached: %s", self.name, error)
            raise Refused(502, "no_answer", "the public API cannot be reached") from None

    def several(self, pictures: list[bytes], options: Options) -> dict:
        """One after another: together they would soon be more than the API takes at once."""
        predictions: list[dict] = []
        head = {"model": "", "milliseconds": 0.0, "threshold": options.threshold or 0.0}
        for picture in pictures:
            try:
                content = self.one(picture, options)
            except Refused as refused:
                if refused.status in (429, 502, 503, 504):
                    raise  # the others would fare no better
                predictions.append(response.refusal(refused))
            else:
                milliseconds = round(head["milliseconds"] + content["milliseconds"], 1)
                head = {key: content[key] for key in head} | {"milliseconds": milliseconds}
                predictions.append({key: content[key] for key in ("width", "height", "detections")})
        return head | {"predictions": predictions}

    def _explained(self, error: urllib.error.HTTPError) -> Refused:
        log.error("%s answered with status %d", self.name, error.code)
        if error.code in (401, 403):
            return Refused(
                502, "no_access", "the public API does not know this server: set PLANTDOC_API_KEY to its key"
            )
        try:
            remote_backend.read(error.read(remote_backend.MAX_ANSWER))
        except Refused as refused:
            if refused.code != "no_answer":
                return refused
        except (OSError, http.client.HTTPException):
            pass
        if error.code == 413:  # AWS's own, of what is too large to reach the API's function
            return request.too_long(remote_backend.MAX_BYTES)
        return (
            remote_backend.busy() if error.code == 429 else Refused(502, "no_answer", "the public API gave no answer")
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key must not follow to another host."""

    def redirect_request(self, *_):
        return None
