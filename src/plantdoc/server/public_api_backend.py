"""Answers from the public API."""

from __future__ import annotations

import http.client
import ipaddress
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
        UserError: it is no URL, or no key, or the key would be sent unencrypted to another machine.
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
        if key and parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise UserError(
                f"{url} would get the key in PLANTDOC_API_KEY unencrypted: write https, or unset PLANTDOC_API_KEY"
            )
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
        # What API Gateway says by itself is {"message": …}.
        if error.code == 413:
            return remote_backend.too_long()
        return Refused(*_OF_GATEWAY.get(error.code, (502, "no_answer", "the public API gave no answer")))


# By status, where the API's function was not reached or gave no answer: its stage is throttled, the endpoint was silent
# for 30 seconds, or the account runs no more functions at once.
_UNAVAILABLE = (
    503,
    "api_unavailable",
    "the public API is busy, or its endpoint is starting: try again in a minute",
)
_OF_GATEWAY = {
    429: (
        429,
        "throttled",
        "the public API takes no more requests now (serve.api_rate, serve.api_burst): try again in some seconds",
    ),
    500: (502, "no_answer", "the public API's function failed; its log on AWS says why"),
    503: _UNAVAILABLE,
    504: _UNAVAILABLE,
}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key must not follow to another host."""

    def redirect_request(self, *_):
        return None
