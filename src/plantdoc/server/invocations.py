"""The way of photos through the server: who may ask, what is taken in, the answer, and what is counted."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from plantdoc.server import request_body
from plantdoc.server.admission import Admission
from plantdoc.server.callers import Callers
from plantdoc.server.health import Health
from plantdoc.server.limits import Limits
from plantdoc.server.prometheus import Metrics
from plantdoc.serving.handler import request
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options

UNCACHED = {"Cache-Control": "no-store"}


class Service(Protocol):
    """A backend: plantdoc.server.local_backend.Local, or a plantdoc.server.remote_backend.RemoteBackend."""

    source: str
    fresh: float  # seconds for which it is not asked again whether it answers

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def predict(self, content_type: str, body: bytes, options: Options) -> dict: ...
    async def check(self) -> None: ...
    def about(self) -> dict: ...


class Invocations:
    """Takes in what is sent to /invocations, has `service` answer, and knows the model's health by that.

    `callers` are those who may ask.
    """

    def __init__(self, service: Service, metrics: Metrics, limits: Limits, callers: Callers):
        self.service, self.metrics, self.limits, self.callers = service, metrics, limits, callers
        self.health = Health(service.check, service.fresh)
        self.admission = Admission(limits.bodies, limits.bytes, limits.waiting, limits.wait_seconds)
        metrics.classes(service.about()["classes"])
        metrics.bodies.set_function(lambda: self.admission.inside)
        metrics.waiting.set_function(lambda: self.admission.waiting)

    async def respond(self, sent: Request) -> Response:
        """The answer to a request; a refusal where it cannot be answered.

        Raises:
            HungUp: the client has gone.
        """
        record = sent.scope["record"]
        unread = True
        try:
            self.callers.admit(sent.headers)
            options = request.options(sent.query_params.multi_items(), sent.headers.get(request.ATTRIBUTES))
            record.more |= {"threshold": options.threshold, "max": options.most}
            weight = request_body.declared(sent.headers.get("content-length"), self.limits)
            body = request_body.Body(sent.receive, self.limits)
            await body.begin()
            async with self.admission.slot(weight):
                data = await body.rest(lambda: self.admission.waiting > 0)
                unread = False
                work = self._predict(sent, data, options)
                content = await request_body.unless_hung_up(sent.receive, work)
        except Refused as refused:
            record.more["error"] = refused.code
            if refused.status >= 500:
                self.health.doubt()
            return request_body.Refusal(refused, self.limits, unread)
        except request_body.HungUp:
            raise
        except Exception:
            self.health.doubt()
            raise
        self.health.answered()
        predictions = content.get("predictions", [content])
        names = [one["class_name"] for each in predictions for one in each.get("detections", ())]
        self.metrics.detections(names)
        record.more |= {"pictures": len(predictions), "detections": len(names)}
        return JSONResponse(content, headers=UNCACHED)

    async def _predict(self, sent: Request, body: bytes, options: Options) -> dict:
        if encoding := sent.headers.get("content-encoding"):
            body = await asyncio.to_thread(request.uncompressed, encoding, body, self.limits.body)
        return await self.service.predict(sent.headers.get("content-type", ""), body, options)
