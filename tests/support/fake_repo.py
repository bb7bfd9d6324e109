"""The repository with stages that take no time: same names, params, outputs and metrics, made by formula.

For tests of what goes on around the pipeline (sweeps, choosing, pushing, reports). What the pipeline itself does is
tested on a miniature.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import repo_templates
import script_runner
import small_repo
from ruamel.yaml import YAML

COMMON = '''
import hashlib, json, math, os, random, sys, time
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml").read_text())
stage = Path(sys.argv[0]).stem

def write(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=1, sort_keys=True).encode())

def noise(size, *of):
    return random.Random(repr(of)).randbytes(size)

def cost(**figures):
    path = Path("results/cost.json")
    costs = json.loads(path.read_text()) if path.exists() else {}
    write(path, costs | {stage: {"minutes": 0.001, "machine": "test", "output": "0" * 64} | figures})

def quality():
    """Best at lr = 0.2 and three epochs."""
    away = 0.2 * abs(math.log10(params["lr"] / 0.2)) + 0.01 * abs(params["train"]["epochs"] - 3)
    return round(max(0.0, 0.6 - away), 6)

# Another kind of CPU trains to other weights, and so to other scores.
cpu = os.environ.get("TINY_CPU", "")

# A test sees which stages ran, how often, and can hold one until it says so.
if log := os.environ.get("TINY_LOG"):
    with open(log, "a") as file:
        file.write(f"{stage} lr={params['lr']} {os.getpid()}\\n")
'''
STAGES = {
    "fetch": """
classes = ["apple scab", "corn rust"]
for split in ("train", "val", "test"):
    write(f"data/raw/{split}/a.jpg", noise(50_000, "raw", split, params["fetch"]["limit"]))
    write(f"data/raw/{split}/annotations.json", {"images": [], "annotations": [], "categories": classes})
write("results/fetch/pictures/test.jpg", noise(1000, "sheet"))
write("results/fetch/report.md", b"# What came in\\n")
write("results/fetch/report.json", {"pictures": {"train": 1, "val": 1, "test": 1}})
cost()
""",
    "augment": """
write("data/tfrecords/train-00000.tfrecord", noise(300_000, "records", params["augment"]["size"]))
write("data/tfrecords/meta.json", {"size": params["augment"]["size"]})
cost()
""",
    "train": """
from plantdoc.train import progress

if params["lr"] > 1000:
    sys.exit("train: the loss is not finite at step 0: lower lr")
progress.write(progress.TrainingProgress(state="training", epochs=params["train"]["epochs"]))
while (hold := os.environ.get("TINY_HOLD")) and Path(hold, str(params["lr"])).exists():
    time.sleep(0.02)
write("models/detector/detector.weights.h5", noise(100_000, "weights", params["lr"], params["train"], cpu))
made_from = {name: params[name] for name in ("seed", "lr", "model", "train")}
write("models/detector/config.json", {"made_from": made_from})
write("results/train/metrics.json", {"val_map": quality() / 2, "val_map50": quality(), "best_epoch": 1, "epochs": 1})
for name in ("train/box", "train/class", "train/lr", "val/map", "val/map50"):
    rows = "".join(f"{epoch}\\t{quality() * (epoch + 1) / 3}\\n" for epoch in range(3))
    write(f"results/train/live/plots/metrics/{name}.tsv", f"step\\t{name.split('/')[1]}\\n{rows}".encode())
cost(pictures_per_second=10.0)
""",
    "evaluate": """
map50 = round(quality() * 0.9 + len(cpu) / 1000, 6)
write("results/evaluate/predictions.json", [{"image_id": 1, "category_id": 0, "bbox": [1, 2, 30, 40], "score": map50}])
write("results/evaluate/pictures/random-1.jpg", noise(1000, "picture", params["lr"]))
write("results/evaluate/metrics.json", {"map": map50 / 2, "map50": map50, "map50_low": map50 - 0.04,
    "map50_high": map50 + 0.04, "pictures": 1, "boxes": 1, "threshold": 0.3, "precision": 0.5, "recall": 0.5})
write("results/evaluate/plots/precision_recall.json", [{"recall": r / 4, "precision": 1 - r / 4} for r in range(5)])
write("results/evaluate/plots/confusion.csv", b"actual,predicted\\napple scab,apple scab\\n")
write("results/evaluate/plots/per_class.csv", f"class,pictures,boxes,ap,ap50\\napple scab,1,1,0.1,{map50}\\n".encode())
cost(seconds_per_picture=0.01)
""",
    "deploy": """
write("models/bundle/model.tar.gz", Path("models/detector/detector.weights.h5").read_bytes()[:50_000])
write("results/deploy/check.json", {"pictures": 1, "passed": True})
write("results/deploy/behaviour.json", {"map50": 0.5, "passed": True, "pictures": 1,
    "mirrored": {"map50": 0.4, "kept": round(0.7 + quality() / 3, 4), "least": 0.8, "passed": quality() > 0.3},
    "no_leaf": {"of": 20, "share": None, "least": 0.9, "passed": True}})
cost()
""",
}

# What a test may add to train, the record that a real training keeps, and to deploy, a bundle that can be unpacked.
RECORD = """
sys.path.insert(0, "src")
from plantdoc.train import lineage, train_params
from plantdoc.core import params as checked
record = lineage.made_from("train", checked.load(train_params.Params), None, gpu=False)
write("models/detector/config.json", {"classes": ["apple scab", "corn rust"], "made_from": record})
"""
PACK = """
import shutil, tempfile
sys.path.insert(0, "src")
from plantdoc.deploy import bundle
with tempfile.TemporaryDirectory() as folder:
    shutil.copy("models/detector/config.json", folder)
    write(f"{folder}/1/saved_model.pb", Path("models/detector/detector.weights.h5").read_bytes())
    write(f"{folder}/labels.json", ["apple scab", "corn rust"])
    write(f"{folder}/{bundle.SERVING}", {"max_pixels": 1000})
    bundle.pack(folder, "models/bundle/model.tar.gz")
"""


def make(folder: Path, **overrides: object) -> Path:
    """A miniature (see `small_repo.make`) with the stages above, committed."""
    small_repo.make(folder, **overrides)
    yaml = YAML()
    yaml.width = 200
    pipeline = yaml.load(folder / "dvc.yaml")
    for name, body in STAGES.items():
        (folder / f"src/{name}.py").write_text(COMMON + body)
        stage = pipeline["stages"][name]
        stage["deps"] = [dep for dep in stage["deps"] if not dep.startswith("src/")] + [f"src/{name}.py"]
        if name == "fetch":
            stage["params"] = ["seed", "fetch"]
    yaml.dump(pipeline, folder / "dvc.yaml")
    (folder / "dvc.lock").unlink()
    shutil.rmtree(folder / "results")
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "--amend", "-m", "tiny")
    return folder


def finished(folder: Path, **overrides: object) -> Path:
    """The same after `dvc repro`, its results committed."""

    def build(new: Path) -> None:
        make(new, **overrides)
        script_runner.run(new, "dvc", "repro")
        small_repo.git(new, "add", "-A")
        small_repo.git(new, "commit", "-q", "-m", "results")

    # Tests may have put other stages in place of these.
    content = hashlib.sha256(repr((STAGES, sorted(overrides.items()))).encode()).hexdigest()[:12]
    return repo_templates.copy(f"tiny-{content}", build, folder)
