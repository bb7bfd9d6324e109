"""Versions of an endpoint, by what the tags of their configs say: the one that is served, and those before it."""

from __future__ import annotations

from plantdoc.sagemaker.configs import EndpointConfig
from plantdoc.sagemaker.endpoint_lifecycle import State


def served(state: State | None, history: list[EndpointConfig]) -> EndpointConfig | None:
    """The version that the endpoint serves; None where that is not ours any more."""
    return next((each for each in history if state and each.name == state.config), None)


def serving(state: State | None, history: list[EndpointConfig]) -> EndpointConfig | None:
    """The version that a new one is held against: the one that is served or, while that is untried, the last tried."""
    now = served(state, history)
    if now and now.order is not None:
        return now
    return next((each for each in history if each.order is not None and not each.withdrawn), None)


def previous(history: list[EndpointConfig], now: EndpointConfig | None) -> EndpointConfig | None:
    """The last version that was tried before `now`, and not withdrawn; None where none is kept."""
    bound = now.order if now and now.order is not None else None
    return next(
        (
            each
            for each in history
            if each.order is not None
            and not each.withdrawn
            and (bound is None or each.order < bound)
            and not (now and each.name == now.name)
        ),
        None,
    )


def proved(now: EndpointConfig | None, history: list[EndpointConfig]) -> EndpointConfig | None:
    """The version to serve again where the next one cannot be started: the one that is served, or the last tried."""
    return now if now and now.order is not None and not now.withdrawn else previous(history, None)
