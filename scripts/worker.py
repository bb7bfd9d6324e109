"""Train on this machine for someone elsewhere: bring the inputs, train, send log, checkpoints and outputs to S3.

    python scripts/worker.py

infra/worker/bootstrap.sh starts it on a machine on EC2; which run is in the environment. Ends with 0 when the run is
done, 1 when it has failed, 75 when another machine may go on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from plantdoc.worker import agent  # not for --help

    return agent.main([sys.executable, "src/train.py"])


if __name__ == "__main__":
    entry.start(__file__)
    sys.exit(main())
