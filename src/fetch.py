"""fetch: bring pictures with boxes to disk, audit them, and lay them out as data/raw/{train,val,test}.

    python src/fetch.py        (or `dvc repro fetch`; all settings are in params.yaml, section fetch)

Reads what fetch.source names: the drawn sample, PlantDoc's repository, a folder, an archive, or S3, in any format of
plantdoc.fetch.formats. Pictures are stored upright and in RGB, annotations as COCO JSON; near-duplicates of test
pictures leave train; val is cut from train by content. results/fetch/report.md tells what was read, dropped or
repaired, results/fetch/pictures/ shows some pictures of each split with their boxes. `make check-data` does the same
and publishes nothing.

Costs about ten seconds and 100 MB for PlantDoc's 2,300 pictures from a folder, on 2 cores, and twenty seconds for the
sample. Each process holds one picture at a time.
"""

from __future__ import annotations

import logging
import time

from plantdoc.core import cost, params, stage
from plantdoc.core.errors import UserError
from plantdoc.core.workspace import scratch
from plantdoc.fetch import audit_report, fetch_params, preparation, publication, reconciliation

log = logging.getLogger("plantdoc")


def main() -> None:
    """Run the stage; see the module's docstring."""
    started = time.monotonic()
    settings = params.load(fetch_params.Params)
    fetch = settings.fetch
    with scratch("data/.fetch.partial") as work:
        collected = preparation.collect(fetch, settings.seed, work)
        (work / "stored").mkdir()
        checked = preparation.check(collected, fetch, work / "stored")
        reconciliation.stop_if_too_much_is_lost(checked, fetch.max_dropped_fraction)
        divided = preparation.divide(checked, fetch)
        counts = reconciliation.count(collected, checked, divided)
        with (
            stage.replacing("data/raw") as raw,
            stage.replacing("results/fetch/pictures") as sheets,
            stage.replacing("results/fetch/report.json", folder=False) as report_json,
            stage.replacing("results/fetch/report.md", folder=False) as report_md,
        ):
            splits = publication.write_pictures(collected, checked, divided, raw)
            for fault in publication.faults(splits, fetch.val_fraction):
                raise UserError(fault)
            publication.draw_sheets(splits, raw, collected.origin, sheets)
            found = audit_report.Findings(collected, checked, divided, counts, splits)
            publication.write_report(found, report_json, report_md)
    cost.record("fetch", "data/raw", minutes=(time.monotonic() - started) / 60)
    for line in reconciliation.lines(collected, checked, counts, splits, fetch.max_dropped_fraction):
        log.info("fetch: %s", line)


if __name__ == "__main__":
    stage.run(main)
