"""Weights & Biases, for those who want it: params, epochs, test scores and test pictures of a training, in one run.

On where there is a key (WANDB_API_KEY, or in netrc as `wandb login` writes it), offline with WANDB_MODE=offline, else
off. Data and models are references to DVC's objects with DVC's hash, so that nothing is stored twice. A run is known by
what its model was made from: trained again, or scored later, it is the same run. Nothing that fails here stops a stage,
and nothing of it enters an output.
"""

from __future__ import annotations

import contextlib
import json
import logging
import netrc
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from plantdoc.coco import dataset
from plantdoc.core import environment, git, identity, params, stage_deps, workspace
from plantdoc.core.flatten import flat
from plantdoc.tracking import dvc_outputs, wandb_tables

log = logging.getLogger("plantdoc")
HOST, PROJECT = "https://api.wandb.ai", "plant-disease-detector"
SECONDS = 30  # to reach the server at the start, and to send what is left at the end


class Tracker:
    """Tracker of a stage in Weights & Biases; `run` is wandb's, or None where tracking is off.

    `step` is one more than the last epoch's: W&B drops what comes twice for the same step.
    """

    def __init__(self, run=None, step: int = 0):
        self.run, self.step = run, step
        self._faults: set[str] = set()

    def epoch(self, number: int, row: dict[str, float]) -> None:
        """Figures of an epoch, counted from 1: `box` becomes train/box, `val_map` val/map."""
        figures = {f"val/{key[4:]}" if key.startswith("val_") else f"train/{key}": row[key] for key in row}
        self._tell(lambda run: run.log({"epoch": number} | figures, step=number, commit=True))

    def scores(self, figures: dict[str, float]) -> None:
        """Figures on the test pictures."""
        self._tell(lambda run: run.summary.update({f"test/{key}": value for key, value in figures.items()}))

    def pictures(self, split: dataset.Split, folder: Path | str, found: list[dict]) -> None:
        """Test pictures with truth and predictions, as plantdoc.tracking.wandb_tables has them."""
        self._tell(
            lambda run: run.log(
                {"test/pictures": wandb_tables.table(split, folder, found)}, step=self.step, commit=True
            )
        )

    def model(self, path: str) -> None:
        """The model that a stage before this one wrote to `path`: the run's own output."""
        self._tell(lambda run: run.log_artifact(_artifact("model", dvc_outputs.read()[path])))

    def _tell(self, what: Callable) -> None:
        if not self.run:
            return
        try:
            what(self.run)
        # wandb raises ValueError, RuntimeError, OSError and errors of its service that share no base of their own.
        except Exception as error:
            if (fault := _line(error)) not in self._faults:
                self._faults.add(fault)
                log.warning("W&B: something was not logged there: %s", fault)


@contextlib.contextmanager
def run(stage: str, made_from: dict) -> Iterator[Tracker]:
    """Yield the tracker of the training with these inputs (train.lineage); one line of log says where it goes."""
    mode = os.environ.get("WANDB_MODE")
    if mode == "disabled" or (mode != "offline" and not has_key(os.environ.get("WANDB_BASE_URL", HOST))):
        why = "WANDB_MODE is disabled" if mode == "disabled" else "no key; WANDB_API_KEY or `wandb login` turns it on"
        if not environment.read().trains_for_another:  # else whoever asked for this machine tells W&B
            log.info("%s: W&B is off (%s)", stage, why)
        yield Tracker()
        return
    run = _start(stage, identity.run_id(made_from))
    tracker = Tracker(run, made_from["train"]["epochs"] + 1)
    tracker._tell(_log_inputs)
    failed = True
    try:
        yield tracker
        failed = False
    finally:
        tracker._tell(lambda run: run.finish(exit_code=int(failed)))


def _start(stage: str, run_id: str):
    """The W&B run, begun or gone on with; None where it cannot be had."""
    try:
        run = _open(run_id, os.environ.get("DVC_EXP_NAME") or _commit(), config=flat(params.read()))
    except Exception as error:  # as in Tracker._tell
        log.warning("%s: W&B is off, since it failed to start: %s", stage, _line(error))
        return None
    offline = f"offline; `wandb sync {_folder()}/wandb/offline-run-*-{run_id}` sends it"
    log.info("%s: W&B: %s", stage, offline if run.offline else run.url)
    return run


def _open(run_id: str, name: str, **options):
    """wandb.init with what goes for every run."""
    import wandb

    _folder().mkdir(parents=True, exist_ok=True)
    # What git's remote, the console and the machine's sensors say stays here: a URL may carry a password.
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
        init_timeout=SECONDS,
        login_timeout=SECONDS,
        finish_timeout=SECONDS,
        x_graphql_retry_max=3,
        x_graphql_timeout_seconds=10,
    )
    wandb.setup(settings)  # init alone logs in loudly
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        id=run_id,
        name=name,
        resume="allow",
        allow_val_change=True,
        dir=_folder(),
        settings=settings,
        **options,
    )


def _folder() -> Path:
    return workspace.main_root() / ".dvc/tmp/plantdoc"


def has_key(host: str) -> bool:
    """Whether there is a key for the W&B server at the URL `host`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    if not path.is_file():
        return False
    try:
        return netrc.netrc(path).authenticators(urlsplit(host).hostname or "") is not None
    except (OSError, netrc.NetrcParseError) as error:
        log.warning("no W&B key is taken from %s, which cannot be read: %s", path, getattr(error, "msg", error))
        return False


def _commit() -> str:
    return git.run("rev-parse", "--short", "HEAD").stdout.decode().strip()


def _log_inputs(run) -> None:
    """Name the data that led to the training, the first ones first."""
    made = dvc_outputs.read()
    used: dict[str, dict] = {}

    def use(paths: Iterable[str]) -> None:
        for path in paths:
            if path in made and path not in used:
                use(made[path]["made_from"])
                used[path] = made[path]

    use(stage_deps.of("train"))
    run.config.update({"inputs": used}, allow_val_change=True)
    if run.offline:  # there an artifact can be an output alone
        return
    for metadata in used.values():
        if sources := [made[path] for path in metadata["made_from"]]:
            _log_preparation(metadata, sources)
        run.use_artifact(_artifact("dataset", metadata))


def _log_preparation(metadata: dict, sources: list[dict]) -> None:
    """Tell of the stage that made data of data: a run of its own, one for all trainings on that data."""
    name = Path(metadata["path"]).name
    run_id = f"{name}-{metadata['md5'][:12]}"
    with _open(run_id, run_id, job_type="data", reinit="create_new") as run:
        for source in sources:
            run.use_artifact(_artifact("dataset", source))
        run.log_artifact(_artifact("dataset", metadata))


def _artifact(kind: str, metadata: dict):
    """An output of the pipeline as an artifact: DVC's hash and a reference to DVC's object, no content."""
    import wandb

    name = Path(metadata["path"]).name
    artifact = wandb.Artifact(name, kind, metadata=metadata)
    if metadata["uri"]:
        artifact.add_reference(metadata["uri"], name, checksum=False)  # with a checksum it would be read
    else:  # without any content all versions would be one to W&B
        with artifact.new_file("dvc.json") as file:
            json.dump(metadata, file)
    return artifact


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
