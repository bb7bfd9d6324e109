"""The application: routes, and the way of a photo through them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from plantdoc.server import schema
from plantdoc.server.access_log import Access
from plantdoc.server.callers import Callers
from plantdoc.server.example_photos import Examples
from plantdoc.server.invocations import UNCACHED, Invocations, Service
from plantdoc.server.limits import Limits
from plantdoc.server.prometheus import TYPE, Metrics
from plantdoc.serving.handler import request, response
from plantdoc.serving.handler.refusal import Refused

PAGE = Path(__file__).resolve().parent / "page"
_SHORT = {"Cache-Control": "max-age=60"}
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def create(
    service: Service,
    examples: Path | None,
    metrics: Metrics,
    write: Callable[[str], None],
    limits: Limits,
    callers: Callers = Callers(),  # noqa: B008 (it is frozen)
) -> Callable:
    """The ASGI application.

    Args:
        service: answers.
        examples: folder of pictures to offer.
        metrics: what is counted.
        write: takes the lines of the access log.
        limits: what is taken at once.
        callers: who may ask the model.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(title=schema.TITLE, description=schema.ABOUT, lifespan=lifespan, openapi_url=None)
    _add_model(app, Invocations(service, metrics, limits, callers))
    _add_information(app, service, Examples(examples), metrics, limits)
    _add_page(app)
    _add_error_answers(app)
    if callers.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=callers.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "Content-Encoding", request.ATTRIBUTES],
            expose_headers=["Retry-After", "X-Request-Id"],
            allow_private_network=True,
        )
    return Access(app, metrics, write)


def _add_model(app: FastAPI, model: Invocations) -> None:
    """What SageMaker asks its containers too."""

    @app.get("/ping", summary="Does the model answer?", responses={503: {"model": schema.Error}})
    async def ping() -> Response:
        if await model.health.good():
            return JSONResponse({"status": "ok"}, headers=UNCACHED)
        refused = Refused(503, "no_model", "the model does not answer")
        return JSONResponse(response.refusal(refused), 503, headers=UNCACHED)

    @app.post(
        "/invocations",
        summary="Find the leaves in photos",
        responses={200: {"model": schema.Prediction | schema.Predictions}, **schema.REFUSALS},
        openapi_extra=schema.INVOCATIONS,
    )
    async def invocations(sent: Request) -> Response:
        return await model.respond(sent)


def _add_information(app: FastAPI, service: Service, pictures: Examples, metrics: Metrics, limits: Limits) -> None:
    """About the model, pictures to try it with, counters."""

    @app.get("/info", response_model=schema.Info, summary="About the model")
    async def info() -> Response:
        return JSONResponse({"max_bytes": limits.body} | service.about() | {"source": service.source}, headers=UNCACHED)

    @app.get("/examples", response_model=list[schema.Example], summary="Photos to try it with")
    async def examples_() -> Response:
        return JSONResponse(pictures.listed(), headers=_SHORT)

    @app.get("/examples/{name}", response_class=Response, summary="One of them")
    def example(name: str) -> Response:
        found = pictures.find(name)
        if found is None:
            raise HTTPException(404)
        return Response(found[0], media_type=found[1], headers=_SHORT)

    @app.get("/metrics", summary="Counters, for Prometheus")
    async def figures() -> Response:
        return Response(metrics.text(), media_type=TYPE, headers=UNCACHED)


def _add_page(app: FastAPI) -> None:
    """The page for a browser, and the API's description."""

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


def _add_error_answers(app: FastAPI) -> None:
    """What is answered where a route raises, in the form of all refusals."""

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        code, message = _OTHER.get(error.status_code, ("refused", error.detail))
        refused = Refused(error.status_code, code, message)
        headers = dict(error.headers or {})
        if "GET" in headers.get("Allow", ""):
            headers["Allow"] += ", HEAD"
        return JSONResponse(response.refusal(refused), error.status_code, headers=headers)

    @app.exception_handler(Exception)
    async def fault(sent: Request, _: Exception) -> Response:
        message = f"something went wrong on our side; the log has it under {sent.scope['record'].id}"
        return JSONResponse(response.refusal(Refused(500, "failed", message)), 500, headers=UNCACHED)


_OTHER = {
    404: ("not_found", "there is nothing at this address; the API is described at /docs"),
    405: ("wrong_method", "this address takes another method; the API is described at /docs"),
}


def _file(name: str) -> Response:
    """A file of the page; nothing outside of its folder has a name there."""
    try:
        file = next(each for each in PAGE.glob("*") if each.name == name)
        return Response(file.read_bytes(), media_type=_TYPES[file.suffix], headers=_SHORT)
    except (StopIteration, OSError):
        raise HTTPException(404) from None
