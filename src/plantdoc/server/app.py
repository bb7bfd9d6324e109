"""The application: routes, and the way of a photo through them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from plantdoc.server import request_body, schema
from plantdoc.server.access_log import Access
from plantdoc.server.admission import Admission
from plantdoc.server.example_photos import Examples
from plantdoc.server.health import Health
from plantdoc.server.limits import Limits
from plantdoc.server.prometheus import TYPE, Metrics
from plantdoc.serving.handler import request, response
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options

PAGE = Path(__file__).resolve().parent / "page"
_SHORT = {"Cache-Control": "max-age=60"}
_NONE = {"Cache-Control": "no-store"}


class Service(Protocol):
    """A backend: plantdoc.server.local_backend.Local, or a plantdoc.server.remote_backend.RemoteBackend."""

    source: str
    fresh: float  # seconds for which it is not asked again whether it answers

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def predict(self, content_type: str, body: bytes, options: Options) -> dict: ...
    async def check(self) -> None: ...
    def about(self) -> dict: ...


def create(
    service: Service,
    examples: Path | None,
    metrics: Metrics,
    write: Callable[[str], None],
    limits: Limits,
    own_names: tuple[str, ...] = (),
) -> Callable:
    """The ASGI application.

    Args:
        service: answers.
        examples: folder of pictures to offer.
        metrics: what is counted.
        write: takes the lines of the access log.
        limits: what is taken at once.
        own_names: of this host, without which a question is refused: a page elsewhere can have its own name point
            here, and its visitor's browser then takes the two for one site. Empty: any.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(title=schema.TITLE, description=schema.ABOUT, lifespan=lifespan, openapi_url=None)
    admission = Admission(limits.bodies, limits.bytes, limits.waiting, limits.wait_seconds)
    health, pictures = Health(service.check, service.fresh), Examples(examples)
    metrics.classes(service.about()["classes"])
    metrics.bodies.set_function(lambda: admission.inside)
    metrics.waiting.set_function(lambda: admission.waiting)

    @app.get("/ping", summary="Does the model answer?", responses={503: {"model": schema.Error}})
    async def ping() -> Response:
        if await health.good():
            return JSONResponse({"status": "ok"}, headers=_NONE)
        refused = Refused(503, "no_model", "the model does not answer")
        return JSONResponse(response.refusal(refused), 503, headers=_NONE)

    @app.post(
        "/invocations",
        summary="Find the leaves in photos",
        responses={200: {"model": schema.Prediction | schema.Predictions}, **schema.REFUSALS},
        openapi_extra=schema.INVOCATIONS,
    )
    async def invocations(sent: Request) -> Response:
        record = sent.scope["record"]
        unread = True
        try:
            # A page elsewhere may send a form here through its visitor's browser, though it cannot read the answer.
            if sent.headers.get("sec-fetch-site") == "cross-site":
                raise Refused(403, "cross_site", "this server answers its own page, not those of other sites")
            if own_names and _name(sent) not in own_names:
                raise Refused(403, "other_name", f"this server is asked as {' or '.join(own_names)}")
            options = request.options(sent.query_params)
            record.more |= {"threshold": options.threshold, "max": options.most}
            weight = request_body.declared(sent.headers.get("content-length"), limits)
            async with admission.slot(weight):
                body = await request_body.read(sent.receive, limits)
                unread = False
                content_type = sent.headers.get("content-type", "")
                work = service.predict(content_type, body, options)
                content = await request_body.unless_hung_up(sent.receive, work)
        except Refused as refused:
            record.more["error"] = refused.code
            if refused.status >= 500:
                health.doubt()
            return request_body.Refusal(refused, limits, unread)
        except request_body.HungUp:
            raise
        except Exception:
            health.doubt()
            raise
        health.answered()
        predictions = content.get("predictions", [content])
        names = [one["class_name"] for each in predictions for one in each.get("detections", ())]
        metrics.detections(names)
        record.more |= {"pictures": len(predictions), "detections": len(names)}
        return JSONResponse(content, headers=_NONE)

    @app.get("/info", response_model=schema.Info, summary="About the model")
    async def info() -> Response:
        return JSONResponse({"max_bytes": limits.body} | service.about() | {"source": service.source}, headers=_NONE)

    @app.get("/examples", response_model=list[schema.Example], summary="Photos to try it with")
    async def examples_() -> Response:
        return JSONResponse(pictures.listed(), headers=_SHORT)

    @app.get("/examples/{name}", response_class=FileResponse, summary="One of them")
    async def example(name: str) -> Response:
        found = pictures.find(name)
        if found is None:
            raise HTTPException(404)
        return FileResponse(found[0], media_type=found[1], headers=_SHORT)

    @app.get("/metrics", summary="Counters, for Prometheus")
    async def figures() -> Response:
        return Response(metrics.text(), media_type=TYPE, headers=_NONE)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(app.openapi(), headers=_SHORT)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return _file("docs.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page(name: str) -> Response:
        return _file(name)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        code, message = _OTHER.get(error.status_code, ("refused", error.detail))
        refused = Refused(error.status_code, code, message)
        return JSONResponse(response.refusal(refused), error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def fault(sent: Request, _: Exception) -> Response:
        message = f"something went wrong on our side; the log has it under {sent.scope['record'].id}"
        return JSONResponse(response.refusal(Refused(500, "failed", message)), 500, headers=_NONE)

    return Access(app, metrics, write)


_OTHER = {
    404: ("not_found", "there is nothing at this address; the API is described at /docs"),
    405: ("wrong_method", "this address takes another method; the API is described at /docs"),
}


def _name(sent: Request) -> str:
    """Host name in the request, without the port."""
    return re.sub(r":\d+$", "", sent.headers.get("host", "")).lower()


def _file(name: str) -> Response:
    """A file of the page; nothing outside of its folder has a name there."""
    file = next((each for each in PAGE.glob("*") if each.name == name and each.is_file()), None)
    if file is None:
        raise HTTPException(404)
    return FileResponse(file, headers=_SHORT)
