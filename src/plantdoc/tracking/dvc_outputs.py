"""What the stages have written, as dvc.lock has it, and where DVC keeps it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from plantdoc.core import params


def read() -> dict[str, dict]:
    """By path: `path`, DVC's hash `md5`, the object's `uri` (None without a remote on S3), `made_from` (path → hash).

    Of stages that have run; inside a stage these are the ones before it. Empty where no stage was run by DVC.
    """
    lock = params.read("dvc.lock")["stages"] if Path("dvc.lock").is_file() else {}
    paths = {out["path"] for stage in lock.values() for out in stage["outs"]}
    url = remote()
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


def remote() -> str | None:
    """The URL of DVC's remote where that is on S3: a folder means nothing on another machine."""
    done = subprocess.run([sys.executable, "-m", "dvc", "config", "--list"], capture_output=True, text=True)
    config = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    url = config.get(f"remote.{config.get('core.remote')}.url", "")
    return url.rstrip("/") if url.startswith("s3://") else None
