"""From a bundle to an endpoint that serves it, and back.

Each step looks at what is there first, so that a run that was interrupted is taken up by the next. What is under way on
AWS goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

from plantdoc.core import stage
from plantdoc.core.errors import UserError
from plantdoc.sagemaker import (
    bundle_source,
    bundle_upload,
    configs,
    deployed_versions,
    endpoint_lifecycle,
    quality_gate,
    recovery,
    rollout,
    scaling,
    smoke_test,
    spec,
)
from plantdoc.sagemaker.bundle_source import Shipped
from plantdoc.sagemaker.configs import EndpointConfig
from plantdoc.sagemaker.context import Context
from plantdoc.sagemaker.spec import Plan
from plantdoc.settings.serve_params import Params, Serve

RECORD = Path("results/deploy/endpoint.json")
# Bytes that SageMaker takes in a request.
LARGEST = {True: 4_000_000, False: 25_000_000}


def deploy(
    context: Context,
    settings: Params,
    name: str | None,
    *,
    force: bool = False,
    replace: bool = False,
    record: Path | None = RECORD,
) -> dict:
    """Serve a bundle; returns what the file `record` then says of it.

    Args:
        context: where.
        settings: `serve` says how; `deploy.check_pictures` and `train.threads` are for asking the bundle here.
        name: of the bundle, see source.opened.
        force: past the gate.
        replace: take a real-time endpoint away where a serverless one is to be in its place.
        record: file that says what is served, no stage's output; None: there is to be none.

    Raises:
        gate.Refusal: the model is not good enough.
        UserError: it cannot be served, or fails its smoke test; what was served before is served again.
    """
    wanted = settings.serve
    if wanted.serverless and wanted.capture_percent:
        raise UserError(
            f"serve.capture_percent = {wanted.capture_percent}: SageMaker captures nothing of a serverless endpoint; "
            "set it to 0, or serve.serverless to false"
        )
    with bundle_source.opened(name) as shipped:
        before = endpoint_lifecycle.settled(context, wanted.endpoint)
        history = configs.all_of(context, wanted.endpoint)
        served, now = deployed_versions.serving(before, history), deployed_versions.served(before, history)
        _mend_scaling(context, wanted, now)
        if not force and not (served and served.tags.get("plantdoc:bundle") == shipped.sha256):
            quality_gate.check(shipped.version, shipped.serving, served.score if served else None, wanted.min_map50)
        rollout.check(wanted.endpoint, wanted.serverless, now.serverless if now else None, replace)
        with bundle_source.expected(
            shipped, settings.deploy.check_pictures, LARGEST[wanted.serverless], settings.train.threads
        ) as expected:
            uri = bundle_upload.bring(context, shipped.archive, shipped.sha256)
            chosen = spec.of(context, wanted, shipped, uri)
            configs.ensure(context, chosen)
            changed = rollout.bring_up(
                context, wanted, before, chosen, now, deployed_versions.proved(now, history), replace
            )
            faults, figures = smoke_test.test(context, wanted.endpoint, shipped.version, expected)
        standing = next(each for each in configs.all_of(context, wanted.endpoint) if each.name == chosen.name)
        if faults:
            _fail(context, wanted, standing, history, faults, proved=standing.order is not None and not changed)
        if standing.order is None or standing.withdrawn or changed:
            _mark(context, standing, history)
        recovery.tidy(context, wanted)
        made = _described(context, wanted, shipped, chosen, uri, figures)
    if record:
        with stage.replacing(record, folder=False) as path:
            path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return made


def rollback(context: Context, settings: Params, *, replace: bool = False) -> EndpointConfig:
    """Serve the version that was served before the one that is served now; returns it.

    Raises:
        UserError: there is no endpoint or no earlier version, or it does not answer.
    """
    wanted = settings.serve
    before = endpoint_lifecycle.look(context, wanted.endpoint)
    state = endpoint_lifecycle.settled(context, wanted.endpoint)
    if not before or not state:
        raise UserError(f"there is no endpoint {wanted.endpoint} in {context.region}: `make deploy` makes it")
    history = configs.all_of(context, wanted.endpoint)
    now = next((each for each in history if each.name == before.config), None)
    # A version is withdrawn before its update begins: one that was under way is a rollback that was interrupted.
    taken_up = now and now.withdrawn and before.pending == state.config
    earlier = next(each for each in history if each.name == state.config) if taken_up else None
    if not taken_up:
        now = deployed_versions.served(state, history)
        earlier = deployed_versions.previous(history, now)
    _mend_scaling(context, wanted, deployed_versions.served(state, history))
    if not earlier:
        raise UserError(
            f"{now.version if now else state.config} is served, and no earlier version is kept: "
            "`make deploy VERSION=detector@v1.0.0` serves any registered one"
        )
    rollout.check(wanted.endpoint, earlier.serverless, now.serverless if now else None, replace)
    if now and now.order is not None:
        configs.mark(context, now, withdrawn="yes")
    if state.config == earlier.name:
        recovery.look_after(context, wanted, earlier)
    else:
        try:
            rollout.to(context, wanted, state, earlier, now, now, replace)
        except UserError:
            if now and now.name in {each.name for each in configs.all_of(context, wanted.endpoint)}:
                configs.mark(context, now, withdrawn="no")
            raise
    _check_back(context, wanted, earlier)
    forget(wanted.endpoint)
    return earlier


def _check_back(context: Context, wanted: Serve, earlier: EndpointConfig) -> None:
    """See that the version which is back answers, where there is a picture to ask it about."""
    if picture := bundle_source.any_picture(LARGEST[earlier.serverless]):
        try:
            answered = smoke_test.Patience(context, wanted.endpoint).ask(picture)[0].get("model")
        except smoke_test.Broken as broken:
            raise UserError(f"{earlier.version} is back, but gives no answer: {broken}") from None
        if answered != earlier.version:
            raise UserError(f"{earlier.version} is back, but {answered} answers: run it again")


def _fail(
    context: Context,
    wanted: Serve,
    standing: EndpointConfig,
    history: list[EndpointConfig],
    faults: list[str],
    *,
    proved: bool,
) -> None:
    """Undo a deployment that failed its smoke test, and raise what was wrong."""
    more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
    said = f"{standing.version} failed its smoke test:\n  " + "\n  ".join(faults[:5]) + more + "\n"
    if proved:
        raise UserError(f"{said}It was served before and still is; `make rollback` serves the version before it")
    earlier = deployed_versions.previous([each for each in history if each.name != standing.name], None)
    if standing.order is not None:
        configs.mark(context, standing, withdrawn="yes")
    if earlier:
        print(f"deploy: smoke test failed, going back to {earlier.version}", flush=True)
        state = endpoint_lifecycle.settled(context, wanted.endpoint)
        # It does not answer as it should, so a gap does no harm.
        try:
            rollout.to(context, wanted, state, earlier, standing, None, replace=True)
        except UserError as error:
            raise UserError(f"{said}Going back to {earlier.version} failed: {error}") from None
        end = f"{earlier.version} serves again"
    else:
        print("deploy: smoke test failed, and nothing was served before", flush=True)
        scaling.remove(context, wanted.endpoint)
        endpoint_lifecycle.delete(context, wanted.endpoint)
        end = "nothing was served before, so the endpoint was deleted"
    recovery.tidy(context, wanted)
    raise UserError(said + end)


def _mark(context: Context, standing: EndpointConfig, history: list[EndpointConfig]) -> None:
    last = max((each.order or 0 for each in history), default=0)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    configs.mark(context, standing, order=str(last + 1), deployed=now, withdrawn="no")


def _described(context: Context, wanted: Serve, shipped: Shipped, chosen: Plan, uri: str, figures: dict) -> dict:
    host = f"runtime.sagemaker.{context.region}.amazonaws.com"
    return {
        "name": wanted.endpoint,
        "version": shipped.version,
        "region": context.region,
        "kind": "serverless" if chosen.serverless else "real-time",
        "model": chosen.model["ModelName"],
        "config": chosen.name,
        "url": f"https://{host}/endpoints/{wanted.endpoint}/invocations",
        "bundle": {"uri": uri, "sha256": shipped.sha256},
        "scores": {key: shipped.serving.get(key) for key in ("map50", "map50_low", "map50_high", "pictures")},
        "smoke": figures,
    }


def forget(endpoint: str) -> None:
    """Remove RECORD where it is of this endpoint."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        if json.loads(RECORD.read_text(encoding="utf-8"))["name"] == endpoint:
            RECORD.unlink()


def _mend_scaling(context: Context, wanted: Serve, now: EndpointConfig | None) -> None:
    """Register instances with autoscaling again where an interrupted update to another type has left them without."""
    if now and not now.serverless and not scaling.targets(context, wanted.endpoint):
        recovery.restore(context, wanted)
