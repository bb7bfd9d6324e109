"""Check of where a source lies: not in, nor around, an output of a stage, which DVC deletes before the stage runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from plantdoc.core import params
from plantdoc.core.errors import UserError

OWN = "data/own"  # nothing writes, removes or commits it
_NAMED = ("sample", "plantdoc")


def refuse_outputs(source: str, root: Path) -> None:
    """Raise UserError where `source`, the value of fetch.source, shares files with an output of a stage.

    Args:
        source: a folder or archive; relative paths start from `root`.
        root: the main repository's root.
    """
    if source in _NAMED or source.startswith("s3://"):
        return
    place = (root / Path(source).expanduser()).resolve()
    for stage, out in _outputs(root):
        full = (root / out).resolve()
        if place.is_relative_to(full):
            where = f"is {out}" if place == full else f"lies in {out}"
            raise UserError(
                f"fetch.source = {source!r} {where}, which DVC deletes before the stage {stage} runs: move your "
                f"pictures to {OWN}, or out of the repository, before you run anything, and point fetch.source there"
            )
        if full.is_relative_to(place):
            raise UserError(
                f"fetch.source = {source!r} contains {out}, an output of the stage {stage}: point it to a folder with "
                f"your pictures alone, like {OWN}"
            )


def _outputs(root: Path) -> Iterator[tuple[str, str]]:
    """(stage, path) of all that dvc.yaml's stages write."""
    if not (root / "dvc.yaml").is_file():
        return
    for stage, about in params.read(root / "dvc.yaml").get("stages", {}).items():
        for kind in ("outs", "metrics", "plots"):
            for entry in about.get(kind, ()):
                yield stage, entry if isinstance(entry, str) else next(iter(entry))
