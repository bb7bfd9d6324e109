"""One config in the place of another: the endpoint made or updated, watched, and cleared of what is not needed."""

from __future__ import annotations

from plantdoc.core.errors import UserError
from plantdoc.sagemaker import endpoint_lifecycle, quotas, recovery, resource_names, scaling
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
    back: EndpointConfig | None,
    replace: bool,
) -> bool:
    """Have the endpoint serve the plan's config, with what watches it; returns whether that is new; see `to`."""
    if state and state.status == endpoint_lifecycle.FAILED:
        print(f"deploy: {wanted.endpoint} had failed ({state.reason}), so it is made again", flush=True)
        endpoint_lifecycle.delete(context, wanted.endpoint)
        state = None
    if state and state.config == plan.name and state.status == endpoint_lifecycle.IN_SERVICE:
        recovery.look_after(context, wanted, plan)
        return False
    to(context, wanted, state, plan, now, back, replace)
    return True


def to(
    context: Context,
    wanted: Serve,
    state: endpoint_lifecycle.State | None,
    goal: Plan | EndpointConfig,
    now: EndpointConfig | None,
    back: EndpointConfig | None,
    replace: bool,
) -> None:
    """Make or update the endpoint, and wait.

    Args:
        context: where.
        wanted: bounds of autoscaling, and how many versions are kept.
        state: the endpoint; None where there is none.
        goal: the config that it is to serve.
        now: the config that it serves; None where that is not ours any more.
        back: the config that serves again where the endpoint has to be made and `goal` cannot be started.
        replace: whether instances may be taken away for a serverless endpoint.

    Raises:
        UserError: AWS refuses the update, has undone it, or cannot start the model; or the endpoint would have to be
            replaced. What was served before is served.
    """
    endpoint = wanted.endpoint
    if state and goal.serverless and now and not now.serverless:
        check(endpoint, goal.serverless, now.serverless, replace)
        scaling.remove(context, endpoint)
        endpoint_lifecycle.delete(context, endpoint)
        state = None
    if not goal.serverless:
        scaling.watch(context, endpoint)
    if not state:
        _create(context, wanted, goal, back)
    elif state.config != goal.name:
        _update(context, wanted, goal, now)
    after = endpoint_lifecycle.settled(context, endpoint)
    if not after:
        raise UserError(f"{endpoint} was deleted in the meantime: run it again")
    if after.status != endpoint_lifecycle.IN_SERVICE or after.config != goal.name:
        raise UserError(_why(context, wanted, after, goal, back))
    recovery.look_after(context, wanted, goal)


def _create(context: Context, wanted: Serve, goal: Plan | EndpointConfig, back: EndpointConfig | None) -> None:
    """Have AWS make the endpoint; where a quota forbids it, the one before is made again."""
    try:
        with quotas.explained(update=False):
            endpoint_lifecycle.create(context, wanted.endpoint, goal.name)
    except quotas.QuotaError as refused:
        end = recovery.serve_again(context, wanted, goal, back)
        if not end:
            scaling.remove(context, wanted.endpoint)  # the alarms
            end = "nothing was served before"
        recovery.tidy(context, wanted)
        raise UserError(f"{refused}\n{end}") from None


def _update(context: Context, wanted: Serve, goal: Plan | EndpointConfig, now: EndpointConfig | None) -> None:
    """Have AWS begin the update; where it does not begin, autoscaling is as it was."""
    # A scaling target of machines that are to go holds the update up.
    if goal.serverless:
        scaling.remove(context, wanted.endpoint)
    # AWS refuses another instance type for what is registered with Application Auto Scaling; another model it takes.
    detached = not goal.serverless and not (now and now.instance_type == goal.instance_type)
    try:
        if detached:
            if now and not now.serverless:
                print(
                    f"deploy: autoscaling is off while {now.instance_type} gives way to {goal.instance_type}; if this "
                    "is interrupted, the next `make deploy` or `make rollback` turns it on again",
                    flush=True,
                )
            scaling.detach(context, wanted.endpoint)
        with quotas.explained(update=True):
            update(context, wanted.endpoint, goal.name, goal.serverless or bool(now and now.serverless))
    except BaseException as error:
        if detached:
            recovery.restore(context, wanted)
        if isinstance(error, quotas.QuotaError):
            recovery.tidy(context, wanted)
            raise UserError(f"{error}\n{now.version if now else 'What was served'} serves on") from None
        raise


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


def _why(
    context: Context,
    wanted: Serve,
    after: endpoint_lifecycle.State,
    goal: Plan | EndpointConfig,
    back: EndpointConfig | None,
) -> str:
    """Reason why an endpoint does not serve `goal`, after what served before was looked after.

    One that failed as it was made can do nothing, so it goes.
    """
    reason = after.reason or "AWS does not say why"
    if after.status == endpoint_lifecycle.FAILED:
        scaling.remove(context, wanted.endpoint)
        endpoint_lifecycle.delete(context, wanted.endpoint)
        end = recovery.serve_again(context, wanted, goal, back) or "the endpoint was deleted"
        recovery.tidy(context, wanted)
        return f"AWS could not start {goal.name}: {reason}. CloudWatch has the container's log; {end}"
    recovery.restore(context, wanted)
    recovery.tidy(context, wanted)
    return (
        f"AWS has not put {goal.name} into service, {after.config} serves on ({after.status}): {reason}. CloudWatch "
        f"has the log, /aws/sagemaker/Endpoints/{wanted.endpoint}"
    )
