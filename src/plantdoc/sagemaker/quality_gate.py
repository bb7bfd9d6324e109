"""Quality gate: which models may be served, by the scores in their bundles."""

from __future__ import annotations

import math
from dataclasses import dataclass

from plantdoc.core.errors import UserError


class Refusal(UserError):
    """The model is not good enough to be served; nothing on AWS was touched."""


@dataclass(frozen=True)
class Score:
    """mAP@50 on the test pictures with its 95 % interval, and how many pictures those are (0: not known)."""

    map50: float
    low: float
    high: float
    pictures: int = 0

    @classmethod
    def of(cls, serving: dict) -> Score:
        """From a bundle's serving.json; without a bootstrap there is no interval, and the score stands for it."""
        map50 = serving["map50"]
        return cls(map50, serving.get("map50_low", map50), serving.get("map50_high", map50), serving.get("pictures", 0))


def reasons(serving: dict, live: Score | None, least: float) -> list[str]:
    """Reasons against serving the model of this serving.json; none if it may be served.

    The scores of two models are both estimates, so a lower one is refused only where it is lower by more than chance
    explains: live.map50 - new.map50 > sqrt((new.high - new.map50)² + (live.map50 - live.low)²). The upper half of the
    new model's interval and the lower half of the live one's add up as errors of independent estimates do, by their
    squares. (Both models mostly see the same test pictures, which makes the true error of the difference smaller: the
    rule rather lets a slightly worse model pass than refuses one as good.)

    Args:
        serving: of the new model's bundle.
        live: of the model that is served now; None where there is none, or it is the same one.
        least: mAP@50 on the test pictures below which no model is served.
    """
    new, found = Score.of(serving), []
    if new.map50 < least:
        found.append(f"its test mAP@50 is {new.map50:.3f}, and serve.min_map50 asks for {least:g}")
    if live:
        margin = math.hypot(new.high - new.map50, live.map50 - live.low)
        if live.map50 - new.map50 > margin:
            other = (
                f" (on {new.pictures} test pictures, the live one's on {live.pictures})"
                if new.pictures != live.pictures
                else ""
            )
            found.append(
                f"its test mAP@50 of {new.map50:.3f} is {live.map50 - new.map50:.3f} below the live model's "
                f"{live.map50:.3f}, and the intervals explain {margin:.3f}{other}"
            )
    behaviour = serving.get("behaviour") or {}
    if behaviour.get("passed") is False:
        failed = [name for name, about in behaviour.items() if isinstance(about, dict) and about.get("passed") is False]
        found.append(f"its behaviour tests failed{': ' + ', '.join(failed) if failed else ''}")
    return found


def check(version: str, serving: dict, live: Score | None, least: float) -> None:
    """Let the model pass.

    Raises:
        Refusal: or do not, with all reasons in a line.
    """
    if found := reasons(serving, live, least):
        raise Refusal(f"{version} is refused: {'; '.join(found)}; --force serves it all the same")
