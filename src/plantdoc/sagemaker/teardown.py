"""Taking an endpoint away, with all that was made for it."""

from __future__ import annotations

from plantdoc.endpoint import configs, flow, listing, live, scaling
from plantdoc.endpoint.ground import Ground


def remove(ground: Ground, endpoint: str) -> list[str]:
    """Delete the endpoint, its scaling and alarms, configs and models; returns what is left, a line each.

    What is gone already is no fault, so that an interrupted removal is finished by the next. Bundles stay.

    Raises:
        UserError: an endpoint of this name is not ours.
    """
    live.look(ground, endpoint)  # nothing is touched that is not ours
    scaling.remove(ground, endpoint)
    if live.delete(ground, endpoint):
        print(f"deploy: deleted the endpoint {endpoint}", flush=True)
    for name in configs.keep_only(ground, endpoint, set()):
        print(f"deploy: deleted {name}", flush=True)
    flow.forget(endpoint)
    return listing.left(ground, endpoint)
