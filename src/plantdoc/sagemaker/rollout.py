"""One config in the place of another: the endpoint made or updated, watched, and cleared of what is not needed."""

from __future__ import annotations

from plantdoc.core.errors import UserError
from plantdoc.sagemaker import configs, endpoint_lifecycle, resource_names, scaling
from plantdoc.sagemaker.configs import EndpointConfig
from plantdoc.sagemaker.context import Context
from plantdoc.sagemaker.spec import Plan
from plantdoc.settings.serve_params import Serve

# How AWS moves the traffic: all at once to new machines, which are watched before the old ones go.
_WATCHED, _MOST = 300, 1800  # seconds


def check(endpoint: str, serverless: bool, was_serverless: bool | None, replace: bool) -> None:
    """See that the endpoint can be updated, or may be replaced.

    Raises:
        UserError: neither.
    """
    if serverless and was_serverless is False and not replace:
        raise UserError(
            f"{endpoint} has machines of its own, and AWS cannot make it serverless: --replace takes it away and "
            "makes it again (REPLACE=1), with some minutes in which nothing answers; or set serve.serverless to false"
        )


def bring_up(
    context: Context,
    wanted: Serve,
    state: endpoint_lifecycle.State | None,
    plan: Plan,
    now: EndpointConfig | None,
    replace: bool,
) -> bool:
    """Have the endpoint serve the plan's config, with what watches it; returns whether that is new."""
    if state and state.status == endpoint_lifecycle.FAILED:
        print(f"deploy: {wanted.endpoint} had failed ({state.reason}), so it is made again", flush=True)
        endpoint_lifecycle.delete(context, wanted.endpoint)
        state = None
    if state and state.config == plan.name and state.status == endpoint_lifecycle.IN_SERVICE:
        _look_after(context, wanted, plan.serverless)
        return False
    to(context, wanted, state, plan.name, plan.serverless, now.serverless if now else None, replace)
    return True


def to(
    context: Context,
    wanted: Serve,
    state: endpoint_lifecycle.State | None,
    config: str,
    serverless: bool,
    was_serverless: bool | None,
    replace: bool,
) -> None:
    """Make or update the endpoint, and wait.

    Raises:
        UserError: AWS cannot start the model, or has undone the update; or the endpoint would have to be replaced.
    """
    endpoint = wanted.endpoint
    if state and serverless and was_serverless is False:
        check(endpoint, serverless, was_serverless, replace)
        scaling.remove(context, endpoint)
        endpoint_lifecycle.delete(context, endpoint)
        state = None
    if not serverless:
        scaling.watch(context, endpoint)
    if state:
        if state.config != config:
            # A scaling target of machines that are to go holds the update up.
            if serverless:
                scaling.remove(context, endpoint)
            update(context, endpoint, config, serverless or was_serverless is True)
    else:
        endpoint_lifecycle.create(context, endpoint, config)
    after = endpoint_lifecycle.settled(context, endpoint)
    if not after:
        raise UserError(f"{endpoint} was deleted in the meantime: run it again")
    if after.status != endpoint_lifecycle.IN_SERVICE or after.config != config:
        raise UserError(_why(context, wanted, after, config))
    _look_after(context, wanted, serverless)


def update(context: Context, endpoint: str, config: str, serverless: bool) -> None:
    """Have AWS put the config in the place of the one that is served, which serves on meanwhile.

    With machines the update is blue/green, and an alarm brings back what was there. They keep their number, which
    autoscaling may have raised.
    """
    guarded: dict = {}
    if not serverless:
        guarded = {
            "RetainAllVariantProperties": True,
            # Otherwise a change of serve.capture_percent would be ignored.
            "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DataCaptureConfig"}],
            "DeploymentConfig": {
                "BlueGreenUpdatePolicy": {
                    "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": _WATCHED},
                    "TerminationWaitInSeconds": 0,
                    "MaximumExecutionTimeoutInSeconds": _MOST,
                }
            },
        }
        # An alarm that rings before the update would end it at once, and a broken endpoint could never be mended.
        if ringing := scaling.ringing(context, endpoint):
            print(
                f"deploy: {', '.join(ringing)} is on already, so no alarm brings the earlier version back", flush=True
            )
        else:
            guarded["DeploymentConfig"]["AutoRollbackConfiguration"] = {
                "Alarms": [{"AlarmName": name} for name in resource_names.alarms(endpoint).values()]
            }
    # Not by the SDK: Endpoint.update of sagemaker.core 3.27 takes no config, and sends that which is there already.
    context.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config, **guarded)


def _why(context: Context, wanted: Serve, after: endpoint_lifecycle.State, config: str) -> str:
    """Reason why an endpoint does not serve `config`; a failed first one goes, as it can do nothing."""
    reason = after.reason or "AWS does not say why"
    if after.status == endpoint_lifecycle.FAILED:
        scaling.remove(context, wanted.endpoint)
        endpoint_lifecycle.delete(context, wanted.endpoint)
        tidy(context, wanted)
        return f"AWS could not start {config}: {reason}. CloudWatch has the container's log; the endpoint was deleted"
    tidy(context, wanted)
    return (
        f"AWS has not put {config} into service, {after.config} serves on ({after.status}): {reason}. CloudWatch has "
        f"the log, /aws/sagemaker/Endpoints/{wanted.endpoint}"
    )


def _look_after(context: Context, wanted: Serve, serverless: bool) -> None:
    if serverless:
        scaling.remove(context, wanted.endpoint)
    else:
        scaling.watch(context, wanted.endpoint)
        scaling.scale(context, wanted)


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
