"""The model card (Mitchell et al. 2019, arXiv:1810.03993): what goes out with a model, so that it is not misused."""

from __future__ import annotations

import csv
from pathlib import Path

FEW = 10  # test pictures; below that a class's score says little


def read_classes(path: Path | str) -> list[dict]:
    """The rows of evaluate's per_class.csv, numbers as numbers; `ap` and `ap50` are None where they do not exist."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {
                "class": row["class"],
                "pictures": int(row["pictures"]),
                "boxes": int(row["boxes"]),
                **{key: float(row[key]) if row[key] else None for key in ("ap", "ap50")},
            }
            for row in csv.DictReader(file)
        ]


def model_card(config: dict, source: dict, metrics: dict, classes: list[dict], behaves: dict) -> str:
    """The card as Markdown.

    Args:
        config: of the detector, as in its config.json.
        source: data/raw/source.json.
        metrics: results/evaluate/metrics.json.
        classes: as `read_classes` gives them.
        behaves: as plantdoc.deploy.behaviour.examine gives it; {} where it was not tried.
    """
    sections = [_what(config, source), _call(config, metrics), _data(source), _scores(metrics)]
    sections += [_behaviour(behaves)] if behaves else []
    return "\n\n".join([*sections, _per_class(classes), _limits(source, classes), _origin(config)]) + "\n"


def _what(config: dict, source: dict) -> str:
    note = f"\n\n**The pictures it learned from were {source['note']}: it is of no use on real leaves.**"
    return (
        f"# Plant-disease detector\n\nFinds leaves in a picture and names their species and disease: a "
        f"{config['family']} detector with a {config['backbone']} backbone (size {config['size']}) that looks at "
        f"squares of {config['image_size']} px, for {len(config['classes'])} classes."
    ) + (note if source["note"] else "")


def _call(config: dict, metrics: dict) -> str:
    n = config["max_detections"]
    return f"""## How to call it

A TensorFlow SavedModel, in `1/`, with one signature, `serving_default`; B pictures at once, each of any size:

| | name | type | meaning |
|---|---|---|---|
| in | `image_bytes` | string [B] | bytes of a JPEG, PNG, BMP or GIF file |
| in | `orientation` | int32 [B] | its EXIF orientation 1..8; 1 if it has none |
| out | `boxes` | float32 [B, {n}, 4] | x, y, width, height in pixels of the picture as displayed |
| out | `scores` | float32 [B, {n}] | 0..1, best first |
| out | `class_ids` | int32 [B, {n}] | index into `labels.json`; -1 marks unused rows |
| out | `class_names` | string [B, {n}] | the same as names |

Detections down to a score of {config["score_floor"]:g} are returned. To act on them, take those that score
**{metrics["threshold"]:.3f}** or more: the threshold with the best F1 on the validation pictures."""


def _data(source: dict) -> str:
    rows = [("Data", source["name"]), ("Licence", source["licence"]), ("Attribution", source["attribution"])]
    rows += [("From", source["url"]), ("Content (SHA-256)", source["content"]), ("Note", source["note"])]
    lines = [f"- {label}: {value}" for label, value in rows if value]
    if not source["licence"]:
        lines.append("- Licence: not stated; find out before you pass this model on")
    return "## Data\n\n" + "\n".join(lines)


def _scores(metrics: dict) -> str:
    def line(label: str, key: str) -> str:
        interval = f" | {metrics[f'{key}_low']:.3f}–{metrics[f'{key}_high']:.3f}" if f"{key}_low" in metrics else " | "
        return f"| {label} | {metrics[key]:.3f}{interval} |"

    rows = [("mAP, IoU 0.50:0.95", "map"), ("mAP, IoU 0.50", "map50"), ("mAP, IoU 0.75", "map75")]
    rows += [("Average recall, 100 detections", "mar100")]
    rows += [("Precision at the threshold, IoU 0.50", "precision"), ("Recall at the threshold, IoU 0.50", "recall")]
    table = "\n".join(line(label, key) for label, key in rows if key in metrics)
    return (
        f"## Scores\n\nOn {metrics['pictures']} test pictures with {metrics['boxes']} boxes, in pixels of the original "
        "pictures, through the function that is shipped. The 95 % intervals say how far a score may move with other "
        "test pictures; they do not hold what another training run would change.\n\n"
        f"| figure | score | 95 % interval |\n|---|---|---|\n{table}"
    )


def _behaviour(behaves: dict) -> str:
    lines = []
    for name, test in behaves.items():
        if isinstance(test, dict):
            share, passed = _number(test.get("kept", test.get("share"))), "yes" if test["passed"] else "**no**"
            lines.append(f"| {name.replace('_', ' ')} | {share} | {test['least']:g} | {passed} |")
    what = (
        f"On {behaves['pictures']} of the test pictures: the share of the mAP@50 that is kept when they are changed; "
        "of drawn pictures without a leaf, the share that gets no box of 0.5 or more; of pairs of leaves side by side, "
        "each found alone, the share in which both are found."
    )
    table = "\n".join(["| test | share | at least | passed |", "|---|---|---|---|", *lines])
    return f"## Behaviour\n\n{what}\n\n{table}"


def _per_class(classes: list[dict]) -> str:
    lines = []
    for row in classes:
        name = row["class"].replace("|", "&#124;")
        cells = (name, row["pictures"], row["boxes"], _number(row["ap50"]), _number(row["ap"]))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "## Classes\n\n| class | test pictures | boxes | AP@50 | AP |\n|---|---|---|---|---|\n" + "\n".join(lines)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _limits(source: dict, classes: list[dict]) -> str:
    lines = [
        "- It is no diagnosis: ask a plant doctor before you treat or destroy a crop.",
        "- It knows the classes above and nothing else: on any other plant, or on no plant, it may still answer.",
        "- The scores hold for pictures like the test pictures; other cameras, distances and seasons may do worse.",
    ]
    if source["note"]:
        lines.append(f"- The pictures were {source['note']}: the scores say nothing about real leaves.")
    else:
        lines.append(
            "- Where pictures and labels were collected from the web, they favour clear cases and hold wrong labels, "
            "in the test pictures too."
        )
    few = [row["class"] for row in classes if row["pictures"] < FEW]
    if few:
        lines.append(f"- Fewer than {FEW} test pictures, so that the score says little: {', '.join(sorted(few))}.")
    return "## Limits\n\n" + "\n".join(lines)


def _origin(config: dict) -> str:
    return "## What it was made from\n\nSHA-256 hashes, parameters and seed: `made_from` in `config.json`."
