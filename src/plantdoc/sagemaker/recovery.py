"""What serves after a change of the endpoint: looked after, made again where it had to go, and cleared of the rest."""

from __future__ import annotations

from plantdoc.sagemaker import configs, endpoint_lifecycle, quotas, scaling
from plantdoc.sagemaker.configs import EndpointConfig
from plantdoc.sagemaker.context import Context
from plantdoc.sagemaker.spec import Plan
from plantdoc.settings.serve_params import Serve


def look_after(context: Context, wanted: Serve, served: Plan | EndpointConfig) -> None:
    """Have the alarms and autoscaling that the config which is served needs, and no others."""
    if served.serverless:
        scaling.remove(context, wanted.endpoint)
    else:
        scaling.watch(context, wanted.endpoint)
        scaling.scale(context, wanted)


def restore(context: Context, wanted: Serve) -> None:
    """Put autoscaling and alarms back that an update had taken away which ended early; not while one is under way."""
    state = endpoint_lifecycle.look(context, wanted.endpoint)
    if not state or state.status != endpoint_lifecycle.IN_SERVICE:
        return
    history = configs.all_of(context, wanted.endpoint)
    if served := next((each for each in history if each.name == state.config), None):
        look_after(context, wanted, served)


def serve_again(
    context: Context, wanted: Serve, failed: Plan | EndpointConfig, back: EndpointConfig | None
) -> str | None:
    """Make the endpoint with the config that served before; returns what became of that, None where there is none."""
    if not back or back.name == failed.name:
        return None
    print(f"deploy: going back to {back.version}", flush=True)
    if not back.serverless:
        scaling.watch(context, wanted.endpoint)
    try:
        with quotas.explained(update=False):
            endpoint_lifecycle.create(context, wanted.endpoint, back.name)
    except quotas.QuotaError as refused:
        return f"{back.version}, which served before, could not be started again either: {refused}"
    after = endpoint_lifecycle.settled(context, wanted.endpoint)
    if not after or after.status != endpoint_lifecycle.IN_SERVICE:
        reason = after.reason if after else "it was deleted in the meantime"
        return f"{back.version}, which served before, could not be started again either: {reason}"
    look_after(context, wanted, back)
    return f"{back.version} serves again"


def tidy(context: Context, wanted: Serve) -> None:
    """Keep what is served or about to be, and `serve.keep_versions` to go back to; delete the rest of ours."""
    state = endpoint_lifecycle.look(context, wanted.endpoint)
    served = {state.config, state.pending} if state else set()
    ways_back = [
        each.name
        for each in configs.all_of(context, wanted.endpoint)
        if each.order is not None and not each.withdrawn and each.name not in served
    ]
    for name in configs.keep_only(context, wanted.endpoint, {*served, *ways_back[: wanted.keep_versions]}):
        print(f"deploy: deleted {name}, which is no longer needed", flush=True)
