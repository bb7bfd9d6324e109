"""Try the whole way to SageMaker and back, on real AWS, with a serverless endpoint of its own.

    python scripts/sagemaker_smoke.py                       the workspace's bundle; expected: minutes, under a cent
    python scripts/sagemaker_smoke.py detector@v1.2.0       a registered version; or a model.tar.gz

Needs credentials, the bucket and the role of `make aws`, and the bundle, nothing else. An endpoint with a name of its
own is made, asked about test pictures, held against what evaluate predicted, and taken away again, however that ends;
what could not be removed is named. Endpoints that are there are not touched. The bundle stays in the bucket, where a
later deployment of it finds it. A bundle is code of whoever made it, model included: trust it like a program.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry, stage
from plantdoc.core.errors import UserError

MEMORY_MB = 3072


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", help="detector@v1.2.0, or a model.tar.gz (models/bundle)")
    parser.add_argument("--memory", type=int, default=MEMORY_MB, help=f"MB, 1024 to 6144 by 1024 ({MEMORY_MB})")
    arguments = parser.parse_args()
    # Not for --help.
    from plantdoc.aws import clients, tags
    from plantdoc.core import params, processes
    from plantdoc.sagemaker import context, deployment, sagemaker_prices, teardown
    from plantdoc.settings import serve_params

    processes.end_on_terminate()
    for name in ("sagemaker", "sagemaker.core"):  # they tell each call, in colour
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = params.load(serve_params.Params)
    name = f"{tags.PREFIX}smoke-{secrets.token_hex(4)}"
    own = {"endpoint": name, "serverless": True, "memory_mb": arguments.memory, "concurrency": 1, "capture_percent": 0}
    settings = settings.model_copy(update={"serve": settings.serve.model_copy(update=own)})
    with clients.explained():
        there = context.find()
        try:
            # The gate is for what people get to see.
            made = deployment.deploy(there, settings, entry.given_or_name(arguments.bundle), force=True, record=None)
            dollars = sagemaker_prices.serverless(arguments.memory, made["smoke"]["seconds"], 0)
            print(
                f"sagemaker_smoke: {summary(made)}, at most ${max(dollars, 0.0001):.4f} "
                f"(prices of {sagemaker_prices.TABLE_DATE})"
            )
        finally:
            if left := teardown.remove(there, name):
                print("sagemaker_smoke: NOT removed: " + ", ".join(left), file=sys.stderr)
            else:
                print("sagemaker_smoke: no endpoint, config or model of it is left")
    if left:
        raise UserError("not all could be removed, as it says above: delete the rest in AWS's console")


def summary(made: dict) -> str:
    """Summarise the smoke test in a line."""
    smoke = made["smoke"]
    return (
        f"{made['version']} answered {smoke['pictures']} pictures as by {smoke['against']}, the first after "
        f"{smoke['first_seconds']:.1f} s, half of them within {smoke['median_seconds']:.2f} s"
    )


if __name__ == "__main__":
    stage.run(main)
