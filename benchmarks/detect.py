"""What models/detector finds in the pictures of a folder, as served: `python benchmarks/detect.py data/raw/val OUT`.

Asks the way src/evaluate.py asks about the test pictures, and writes COCO results to OUT as gzipped JSON. A program of
its own, so that quality.py runs it with the code that trained the detector. About 0.03 s a picture on two cores.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.coco import dataset
from plantdoc.core import params, stage
from plantdoc.detector import tf_setup
from plantdoc.evaluate import evaluate_params


def main(folder: str, out: str) -> None:
    settings = params.load(evaluate_params.Params)
    tf_setup.configure(settings.train.threads, settings.seed)

    from plantdoc.detector import detector
    from plantdoc.serving import predictions, served_model

    split = dataset.load(folder)
    server = served_model.Server(detector.load("models/detector"))
    found = predictions.predict(server.serve, folder, split.pictures, split.classes)
    Path(out).write_bytes(gzip.compress(json.dumps(found).encode()))


if __name__ == "__main__":
    stage.run(lambda: main(*sys.argv[1:]))
