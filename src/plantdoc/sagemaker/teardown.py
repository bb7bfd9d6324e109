"""Taking an endpoint away, with all that was made for it."""

from __future__ import annotations

from plantdoc.sagemaker import configs, deployment, endpoint_lifecycle, listing, scaling
from plantdoc.sagemaker.context import Context


def remove(context: Context, endpoint: str) -> list[str]:
    """Delete the endpoint, its scaling and alarms, configs and models; returns what is left, a line each.

    What is gone already is no fault, so that an interrupted removal is finished by the next. Bundles stay.

    Raises:
        UserError: an endpoint of this name is not ours.
    """
    endpoint_lifecycle.look(context, endpoint)  # nothing is touched that is not ours
    scaling.remove(context, endpoint)
    if endpoint_lifecycle.delete(context, endpoint):
        print(f"deploy: deleted the endpoint {endpoint}", flush=True)
    for name in configs.keep_only(context, endpoint, set()):
        print(f"deploy: deleted {name}", flush=True)
    deployment.forget(endpoint)
    return listing.left(context, endpoint)
