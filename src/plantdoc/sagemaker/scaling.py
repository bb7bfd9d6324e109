"""Autoscaling of an endpoint with instances, and alarms that roll back an update."""

from __future__ import annotations

from plantdoc.aws.tags import PREFIX
from plantdoc.sagemaker import resource_names
from plantdoc.sagemaker.context import Context, as_tags
from plantdoc.settings.serve_params import Serve

_WHICH = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
_POLICY = f"{PREFIX}invocations"
# Share of answers that are errors of the container, and microseconds that an answer may take on average: far from both
# when all is well, and over in two minutes when not.
_ERRORS, _LATENCY = 0.05, 20e6


def watch(context: Context, endpoint: str) -> None:
    """Make the alarms, or put them back as they are meant to be."""
    kinds = {"errors": ("Invocation5XXErrors", _ERRORS), "latency": ("ModelLatency", _LATENCY)}
    for kind, name in resource_names.alarms(endpoint).items():
        metric, most = kinds[kind]
        context.alarms.put_metric_alarm(
            AlarmName=name,
            AlarmDescription="Undoes an update of the endpoint, see plantdoc.sagemaker.endpoint_lifecycle",
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[
                {"Name": "EndpointName", "Value": endpoint},
                {"Name": "VariantName", "Value": resource_names.VARIANT},
            ],
            Statistic="Average",
            Period=60,
            EvaluationPeriods=2,
            Threshold=most,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
            Tags=as_tags({}),
        )


def ringing(context: Context, endpoint: str) -> list[str]:
    """Those of the endpoint's alarms that are on."""
    found = context.alarms.describe_alarms(AlarmNames=list(resource_names.alarms(endpoint).values()))
    return [each["AlarmName"] for each in found["MetricAlarms"] if each["StateValue"] == "ALARM"]


def scale(context: Context, serve: Serve) -> None:
    """Let AWS keep as many machines as the requests need, between serve.min_instances and serve.max_instances."""
    which = _WHICH | {"ResourceId": resource_names.resource(serve.endpoint)}
    context.scaling.register_scalable_target(**which, MinCapacity=serve.min_instances, MaxCapacity=serve.max_instances)
    context.scaling.put_scaling_policy(
        **which,
        PolicyName=_POLICY,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": float(serve.invocations_per_instance),
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            "ScaleInCooldown": 300,
            "ScaleOutCooldown": 60,
        },
    )


def detach(context: Context, endpoint: str) -> None:
    """Delete the scaling policies, then deregister the scalable target; what is not there is no fault.

    Alarms stay: they roll back an update, which needs no target.
    """
    which = _WHICH | {"ResourceId": resource_names.resource(endpoint)}
    for policy in policies(context, endpoint):
        context.scaling.delete_scaling_policy(**which, PolicyName=policy)
    if targets(context, endpoint):
        context.scaling.deregister_scalable_target(**which)


def remove(context: Context, endpoint: str) -> None:
    """Take autoscaling and alarms away; what is not there is no fault."""
    detach(context, endpoint)
    if found := alarms(context, endpoint):
        context.alarms.delete_alarms(AlarmNames=found)


def targets(context: Context, endpoint: str) -> list[str]:
    """The endpoint's scalable targets: one, or none."""
    found = context.scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[resource_names.resource(endpoint)]
    )["ScalableTargets"]
    return [each["ResourceId"] for each in found]


def policies(context: Context, endpoint: str) -> list[str]:
    """The names of the endpoint's scaling policies."""
    found = context.scaling.describe_scaling_policies(
        ServiceNamespace="sagemaker", ResourceId=resource_names.resource(endpoint)
    )["ScalingPolicies"]
    return [each["PolicyName"] for each in found]


def alarms(context: Context, endpoint: str) -> list[str]:
    """The names of those of the endpoint's alarms that are there."""
    found = context.alarms.describe_alarms(AlarmNames=list(resource_names.alarms(endpoint).values()))
    return [each["AlarmName"] for each in found["MetricAlarms"]]
