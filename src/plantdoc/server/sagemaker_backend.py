"""Answers from a SageMaker endpoint."""

from __future__ import annotations

import base64
import json
import logging

from plantdoc.aws import clients
from plantdoc.server import remote_backend
from plantdoc.serving.handler import request
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options

log = logging.getLogger("plantdoc")
_THROTTLED = ("ThrottlingException", "Throttling", "TooManyRequestsException")
_STARTING = ("ModelNotReadyException", "ServiceUnavailable", "ServiceUnavailableException")
# SageMaker's words, with a ModelError, where the container took more than 60 seconds: it was starting.
_TIMED_OUT = "timed out while waiting for a response from container"
# For a body that is too large a serverless endpoint says the first.
_TOO_LONG = ("oversize body", "too large", "length less than", "content length exceeded")


class Endpoint(remote_backend.RemoteBackend):
    """An endpoint that serves a bundle.

    Args:
        name: of the endpoint.
        region: None for that of the AWS environment.

    Raises:
        UserError: there is no region, or there are no credentials.
    """

    source = "sagemaker"

    def __init__(self, name: str, region: str | None = None):
        super().__init__(f"the endpoint {name}")
        self._endpoint = name
        with clients.explained():
            session = clients.new_session()
            if session.get_credentials() is None:
                raise clients.refused.NoCredentialsError
            self._client = clients.make(
                "sagemaker-runtime", clients.region(region), session=session, timeouts=clients.INFERENCE
            )

    def one(self, picture: bytes, options: Options) -> dict:
        return self._invoke(picture, remote_backend.kind(picture), options)

    def several(self, pictures: list[bytes], options: Options) -> dict:
        rows = [{"b64": base64.b64encode(each).decode()} for each in pictures]
        body = json.dumps({"instances": rows}).encode()
        if len(body) > remote_backend.MAX_BYTES:
            raise remote_backend.too_long()
        return self._invoke(body, request.JSON, options)

    def _invoke(self, body: bytes, kind: str, options: Options) -> dict:
        asked = {"EndpointName": self._endpoint, "Body": body, "ContentType": kind, "Accept": request.JSON}
        if given := remote_backend.chosen(options):
            asked["CustomAttributes"] = ",".join(f"{name}={value}" for name, value in given.items())
        try:
            text = self._client.invoke_endpoint(**asked)["Body"].read(remote_backend.MAX_ANSWER)
        except clients.refused.ClientError as error:
            log.error("%s: %s", self.name, error)
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            raise _explained(clients.code(error), status, str(error)) from None
        except clients.refused.ReadTimeoutError:
            log.error("%s: no answer in %d seconds", self.name, clients.INFERENCE.read)
            raise remote_backend.starting() from None
        except (clients.refused.BotoCoreError, clients.refused.HTTPClientError) as error:
            log.error("%s: %s", self.name, error)
            raise Refused(502, "no_answer", "the endpoint cannot be reached; the server's log says why") from None
        return remote_backend.read(text)  # the container says 200 to everything; a refusal stands in the answer


def _explained(code: str, status: int | None, text: str) -> Refused:
    """Refusal for an error of SageMaker's.

    Source: the errors of InvokeEndpoint in SageMaker's API reference; ModelNotReadyException has HTTP status 429.
    """
    if code in _THROTTLED:
        return remote_backend.busy()
    if code in _STARTING or status in (429, 503) or (code == "ModelError" and _TIMED_OUT in text):
        return remote_backend.starting()
    if status == 413 or any(each in text for each in _TOO_LONG):
        return remote_backend.too_long()
    if "not found" in text:
        return Refused(502, "no_endpoint", "there is no such endpoint: `make endpoints` lists what there is")
    return Refused(502, "no_answer", "the endpoint gave no answer; the server's log says why")
