"""Outputs of the stages in dvc.lock, and DVC's remote."""

from __future__ import annotations

from pathlib import Path

from plantdoc.core import dvc_config, params


def read() -> dict[str, dict]:
    """By path: `path`, DVC's hash `md5`, the object's `uri` (None without a remote on S3), `made_from` (path → hash).

    Of stages that have run; inside a stage these are the ones before it. Empty where no stage was run by DVC.
    """
    lock = params.read("dvc.lock")["stages"] if Path("dvc.lock").is_file() else {}
    paths = {out["path"] for stage in lock.values() for out in stage["outs"]}
    url = _bucket_url()
    return {
        out["path"]: {
            "path": out["path"],
            "md5": out["md5"],
            "uri": f"{url}/files/md5/{out['md5'][:2]}/{out['md5'][2:]}" if url else None,
            "made_from": {dep["path"]: dep["md5"] for dep in stage["deps"] if dep["path"] in paths},
        }
        for stage in lock.values()
        for out in stage["outs"]
    }


def _bucket_url() -> str | None:
    """The URL of DVC's remote where that is on S3: a folder means nothing on another machine."""
    remote = dvc_config.default_remote()
    return remote.url.rstrip("/") if remote and remote.on_s3 else None
