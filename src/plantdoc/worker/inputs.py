"""Download the training's inputs: data from DVC's remote and the file of model.weights, and check their identity."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from plantdoc.aws.run_store import Store
from plantdoc.core import cost, identity, params, stage, stage_deps
from plantdoc.core.errors import UserError
from plantdoc.train import lineage, train_params
from plantdoc.worker.job import Job
from plantdoc.worker.retry import insist

_CONNECTIONS = 8


def bring(store: Store, job: Job) -> Path | None:
    """Bring data and weights, each file checked by its hash; returns the path of the weights, or None without any.

    Raises:
        UserError: something is not there, or is damaged.
    """
    outs = [out for about in params.read("dvc.lock")["stages"].values() for out in about.get("outs", ())]
    hashes = {out["path"]: out["md5"] for out in outs}
    for path in stage_deps.data(stage_deps.of("train")):
        if path not in hashes:
            raise UserError(f"dvc.lock does not say what {path} holds: run `dvc repro` up to the stage that makes it")
        _bring_output(store, job, Path(path), hashes[path])
    if not job.weights:
        return None
    file = Path(".dvc/tmp/plantdoc/weights", job.weights).absolute()
    if not insist(job, store.download, f"weights/{job.weights}", file, job.weights):
        raise UserError(f"s3://{store.bucket}/runs/weights/{job.weights} (model.weights) is not there")
    job.touch()
    return file


def check(job: Job, file: Path | None) -> dict:
    """Check the lineage (plantdoc.train.lineage) of the inputs that were downloaded.

    Raises:
        UserError: it is not what the run is named by.
    """
    settings = params.load(train_params.Params)
    gpu = bool(cost.gpus())
    made_from = lineage.made_from("train", settings, file, gpu)
    if (found := identity.run_id(made_from)) == job.run_id:
        return made_from
    if identity.run_id(lineage.made_from("train", settings, file, not gpu)) == job.run_id:
        raise UserError(
            f"the run {job.run_id} is for machines {'without' if gpu else 'with'} an NVIDIA GPU, and this one has "
            f"{'one' if gpu else 'none, or no driver for it'}: check runner.instance_types and runner.image"
        )
    raise UserError(
        f"this machine would train run {found} and not {job.run_id}: its code, data, params, locks or weights are not "
        f"those of the computer that asked for it; here: {json.dumps(made_from, sort_keys=True)}"
    )


def _bring_output(store: Store, job: Job, path: Path, md5: str) -> None:
    """A file or folder that DVC keeps; a folder's object lists its files."""
    if not md5.endswith(".dir"):
        return _bring_object(store, job, md5, path)
    listing = path.with_name(path.name + ".dir")
    _bring_object(store, job, md5, listing)
    files = {}
    for entry in json.loads(listing.read_bytes()):
        name = PurePosixPath(entry["relpath"])
        if name.is_absolute() or ".." in name.parts:
            raise UserError(f"the listing of {path} names {name}, which leads out of it")
        files[path / name] = entry["md5"]
    listing.unlink()
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        waiting = [pool.submit(_bring_object, store, job, md5, file) for file, md5 in files.items()]
        try:
            for each in waiting:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _bring_object(store: Store, job: Job, md5: str, path: Path) -> None:
    from botocore.exceptions import ClientError

    key = "/".join(filter(None, (job.dvc_prefix.strip("/"), "files/md5", md5[:2], md5[2:])))
    try:
        with stage.replacing(path, folder=False) as file:
            insist(job, store.client.download_file, store.bucket, key, str(file))
            with open(file, "rb") as content:
                found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if found != md5.removesuffix(".dir"):
                raise UserError(f"s3://{store.bucket}/{key} ({path}) is damaged, its MD5 is {found}: `make repair`")
    except ClientError as error:
        raise UserError(f"s3://{store.bucket}/{key} ({path}) cannot be read: {error}; `dvc push` sends it") from None
    job.touch()
