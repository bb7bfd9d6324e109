"""Pack the detector as a bundle for serving, and check that the bundle repeats the predictions: `dvc repro deploy`.

Reads models/detector, what evaluate wrote, and data/raw/test. Writes models/bundle/model.tar.gz: a SavedModel with one
signature from encoded picture bytes to boxes, with labels and a model card, in the layout of SageMaker's TensorFlow
container. The bundle is then unpacked, loaded in a fresh process and held against results/evaluate/predictions.json on
`deploy.check_pictures` test pictures; a difference stops the stage and leaves no bundle. results/deploy/check.json says
what was compared.

Costs about half a minute on two cores.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from pathlib import Path

from plantdoc import bundle, card, coco, cost, params, parity, runtime, stage
from plantdoc.errors import UserError

TEST, SOURCE, MODEL = "data/raw/test", "data/raw/source.json", "models/detector"
METRICS, PER_CLASS = "results/evaluate/metrics.json", "results/evaluate/plots/per_class.csv"
PREDICTIONS = "results/evaluate/predictions.json"
BUNDLE, CHECK = "models/bundle", "results/deploy/check.json"


def main() -> None:
    started = time.monotonic()
    settings = params.load()
    runtime.configure(settings.train.threads, settings.seed)

    from plantdoc import detector, serving

    model = detector.load(MODEL)
    with stage.replacing(BUNDLE) as target, tempfile.TemporaryDirectory() as scratch:
        content, unpacked, archive = Path(scratch) / "content", Path(scratch) / "unpacked", target / "model.tar.gz"
        bundle.export(serving.Server(model), content / bundle.MODEL)
        describe(content, model.config)
        bundle.pack(content, archive)
        bundle.unpack(archive, unpacked)
        figures = check(unpacked, model.config, settings)
    with stage.replacing(CHECK, folder=False) as path:
        path.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    cost.record("deploy", BUNDLE, minutes=(time.monotonic() - started) / 60)


def describe(folder: Path, config) -> None:
    """Write what lies beside the model: labels, the detector's config, the model card."""
    texts = {
        "labels.json": json.dumps(config.classes, indent=1, ensure_ascii=False) + "\n",
        "config.json": json.dumps(dataclasses.asdict(config), indent=1, sort_keys=True, ensure_ascii=False) + "\n",
        "README.md": card.model_card(
            dataclasses.asdict(config),
            json.loads(Path(SOURCE).read_text(encoding="utf-8")),
            json.loads(Path(METRICS).read_text(encoding="utf-8")),
            card.read_classes(PER_CLASS),
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def check(unpacked: Path, config, settings: params.Params) -> dict:
    """Hold the unpacked bundle against what evaluate predicted; returns what was compared.

    Raises:
        UserError: they differ by more than plantdoc.parity allows.
    """
    split = coco.load(TEST)
    expected = json.loads(Path(PREDICTIONS).read_text(encoding="utf-8"))
    ids = spread([picture.id for picture in split.pictures], settings.deploy.check_pictures)
    answered = bundle.ask(unpacked / bundle.MODEL, TEST, ids, settings.train.threads)
    faults = parity.differences(expected, answered, config, split, ids)
    if faults:
        more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise UserError(
            f"the bundle does not repeat {PREDICTIONS}; it was not kept. {len(faults)} differences on {len(ids)} "
            "pictures:\n  " + "\n  ".join(faults[:5]) + more + "\nIf models/detector is newer, run `dvc repro`."
        )
    return {
        "pictures": len(ids),
        "detections": sum(row["image_id"] in ids for row in expected),
        "boxes_within_px": parity.BOX_WITHIN,
        "scores_within": parity.SCORE_WITHIN,
    }


def spread(ids: list[int], count: int) -> list[int]:
    """`count` of `ids` (all, if there are fewer), evenly over their order."""
    count = min(count, len(ids))
    return [ids[i * len(ids) // count] for i in range(count)]


if __name__ == "__main__":
    stage.run(main)
