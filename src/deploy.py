"""Pack the detector as a bundle for serving, and check how it answers: `dvc repro deploy`.

Reads models/detector, what evaluate wrote, and data/raw/test. Writes models/bundle/model.tar.gz: a SavedModel with one
signature from encoded picture bytes to boxes, with labels, a model card and the code around it, in the layout of
SageMaker's TensorFlow container. The bundle is then unpacked, loaded in a fresh process and held against
results/evaluate/predictions.json on `deploy.check_pictures` test pictures; a difference stops the stage and leaves no
bundle. results/deploy/check.json says what was compared, results/deploy/behaviour.json how the model answers to changed
pictures (plantdoc.deploy.behaviour); what it fails there stops no stage, but keeps it from being served.

Packages that SageMaker's container needs travel in the bundle. `make setup` brings them; where they are missing, they
are downloaded now, checked by their hashes in infra/container/requirements.txt.

With `deploy.target: sagemaker` it then starts scripts/deploy.py. Whatever becomes of that, the bundle is made: it is
reported, and `make deploy` tries again.

Costs about a minute on two cores.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from plantdoc.coco import dataset
from plantdoc.core import cost, params, stage
from plantdoc.core.errors import UserError
from plantdoc.deploy import behaviour, bundle, container_packages, deploy_params, model_card, parity
from plantdoc.detector import tf_setup

TEST, SOURCE, MODEL = "data/raw/test", "data/raw/source.json", "models/detector"
METRICS, PER_CLASS = "results/evaluate/metrics.json", "results/evaluate/plots/per_class.csv"
PREDICTIONS = "results/evaluate/predictions.json"
BUNDLE, CHECK, BEHAVIOUR = "models/bundle", "results/deploy/check.json", "results/deploy/behaviour.json"
CONTAINER = "infra/container/requirements.txt"


def main() -> None:
    started = time.monotonic()
    settings = params.load(deploy_params.Params)
    packages = container_packages.bring(CONTAINER)
    tf_setup.configure(settings.train.threads, settings.seed)

    from plantdoc.detector import detector
    from plantdoc.serving import served_model

    model = detector.load(MODEL)
    metrics = json.loads(Path(METRICS).read_text(encoding="utf-8"))
    server = served_model.Server(model)
    behaves = try_behaviour(server, metrics["threshold"], settings)
    with stage.replacing(BUNDLE) as target, tempfile.TemporaryDirectory() as scratch:
        content, unpacked, archive = Path(scratch) / "content", Path(scratch) / "unpacked", target / "model.tar.gz"
        bundle.export(server, content / bundle.MODEL)
        bundle.add_code(content, packages)
        describe(content, model.config, metrics, behaves, settings)
        bundle.pack(content, archive)
        bundle.unpack(archive, unpacked)
        figures = check(unpacked, model.config, settings)
    for name, content in ((CHECK, figures), (BEHAVIOUR, behaves)):
        with stage.replacing(name, folder=False) as path:
            path.write_text(as_json(content))
    cost.record("deploy", BUNDLE, minutes=(time.monotonic() - started) / 60)
    if settings.deploy.target == "sagemaker":
        bring_to_sagemaker()


def try_behaviour(server, threshold: float, settings: deploy_params.Params) -> dict:
    """Run the behavioural tests of plantdoc.deploy.behaviour on `deploy.behaviour_pictures` test pictures; {} for 0."""
    split = dataset.load(TEST)
    ids = parity.spread([picture.id for picture in split.pictures if picture.boxes], settings.deploy.behaviour_pictures)
    if not ids:
        return {}
    some = dataset.Split(split.classes, tuple(picture for picture in split.pictures if picture.id in ids))
    least = {
        "mirrored": settings.deploy.keeps_mirrored,
        "light": settings.deploy.keeps_light,
        "shifted": settings.deploy.keeps_shifted,
        "compressed": settings.deploy.keeps_compressed,
        "halved": settings.deploy.keeps_halved,
        "no_leaf": settings.deploy.no_leaf,
        "two_leaves": settings.deploy.two_leaves,
    }
    return behaviour.examine(server.serve, TEST, some, threshold, least, settings.seed)


def describe(folder: Path, config, metrics: dict, behaves: dict, settings: deploy_params.Params) -> None:
    """Write what lies beside the model: labels, config, model card, what a server needs to know, example pictures."""
    source = json.loads(Path(SOURCE).read_text(encoding="utf-8"))
    facts = {
        key: metrics[key] for key in ("threshold", "map50", "map50_low", "map50_high", "pictures") if key in metrics
    }
    facts |= {"max_pixels": settings.deploy.max_pixels, "behaviour": behaves}
    facts |= {key: source[key] for key in ("note", "attribution")}
    texts = {
        "labels.json": json.dumps(config.classes, indent=1, ensure_ascii=False) + "\n",
        "config.json": as_json(dataclasses.asdict(config)),
        "README.md": model_card.model_card(
            dataclasses.asdict(config), source, metrics, model_card.read_classes(PER_CLASS), behaves
        ),
        bundle.SERVING: as_json(facts),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    split = dataset.load(TEST)
    names = {picture.id: picture.file_name for picture in split.pictures if picture.boxes}
    (folder / "examples").mkdir()
    for number, picture in enumerate(parity.spread(list(names), settings.deploy.examples), start=1):
        suffix = Path(names[picture]).suffix.lower()
        shutil.copyfile(Path(TEST) / names[picture], folder / "examples" / f"{number}{suffix}")


def check(unpacked: Path, config, settings: deploy_params.Params) -> dict:
    """Hold the unpacked bundle against what evaluate predicted; returns what was compared.

    Raises:
        UserError: they differ by more than plantdoc.deploy.parity allows.
    """
    split = dataset.load(TEST)
    expected = json.loads(Path(PREDICTIONS).read_text(encoding="utf-8"))
    ids = parity.spread([picture.id for picture in split.pictures], settings.deploy.check_pictures)
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


def bring_to_sagemaker() -> None:
    """Serve what was made. A process of its own, so that its code is no part of what made the bundle."""
    done = subprocess.run([sys.executable, "scripts/deploy.py", "deploy"])
    if done.returncode:
        stage.log.warning("deploy: the bundle is made and kept, but not served: see above, then run `make deploy`")


def as_json(content: dict) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    stage.run(main)
