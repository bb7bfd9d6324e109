"""A training's state on disk, so that a killed one goes on from its last finished epoch.

It lies outside of the stage's outputs, which DVC deletes before a stage runs, and outside of the copy of the tree that
`dvc exp run --temp` makes, which goes when the experiment ends: in `.dvc/tmp/plantdoc/<run id>` of the main repository.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from plantdoc.core import stage


@dataclass
class Progress:
    """Progress of a training: epochs finished, one row of figures for each, and which of them was best."""

    epochs: int = 0
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def finish_epoch(self, row: dict[str, float]) -> None:
        """Enter the figures of the epoch just finished; the best one is that with the first highest `val_map`."""
        self.epochs += 1
        self.history.append(row)
        if "val_map" in row and (not self.best_epoch or row["val_map"] > self.history[self.best_epoch - 1]["val_map"]):
            self.best_epoch = self.epochs


class Checkpoint:
    """The folder of one training, named by the run id, which is a hash of all that determines the result."""

    def __init__(self, folder: Path):
        self.folder = folder

    def load(self) -> tuple[Progress, dict[str, np.ndarray]] | None:
        """Progress and the trainer's arrays at the last finished epoch; None where there is nothing to go on from."""
        try:
            with np.load(self.folder / "last.npz") as file:
                arrays = {name: file[name] for name in file.files}
        except (FileNotFoundError, zipfile.BadZipFile):
            return None
        return Progress(**json.loads(str(arrays.pop("progress")))), arrays

    def save(self, progress: Progress, arrays: dict[str, np.ndarray], best: list[np.ndarray] | None) -> None:
        """Keep an epoch's state; `best` are the weights to keep as the best, where this epoch is that.

        The best weights are written first, under their epoch's number: at no moment do both files disagree.
        """
        if best is not None:
            self._write(f"best-{progress.best_epoch}.npz", {f"{i}": value for i, value in enumerate(best)})
        self._write("last.npz", arrays | {"progress": np.array(json.dumps(vars(progress)))})
        for path in self.folder.glob("best-*.npz"):
            if path.name != f"best-{progress.best_epoch}.npz":
                path.unlink()

    def best(self, epoch: int) -> list[np.ndarray]:
        """The weights kept at `epoch`, in the order of the model's variables."""
        with np.load(self.folder / f"best-{epoch}.npz") as file:
            return [file[f"{i}"] for i in range(len(file.files))]

    def remove(self) -> None:
        """Forget the training; its result is in place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        with stage.replacing(self.folder / name, folder=False) as path, open(path, "wb") as file:
            np.savez(file, **cast(dict[str, Any], arrays))
