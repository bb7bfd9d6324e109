"""The Beam runner that PLANTDOC_BEAM asks for, and our own options in it."""

# Beam is installed with `make setup BEAM=1` alone.
# pyright: reportMissingImports=false
from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners import PipelineRunner, create_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo, FnApiRunner
from apache_beam.runners.portability.portable_runner import JobServiceHandle

from plantdoc.core import environment, parallel
from plantdoc.core.errors import UserError

OPTIONS = environment.variable("beam")


class FolderOptions(PipelineOptions):
    """Our own options, for workers on other machines; paths as Beam's FileSystems know them: s3://… or a folder."""

    @classmethod
    def _add_argparse_args(cls, parser) -> None:
        parser.add_argument("--raw", default="", help="where the workers find what data/raw holds")
        parser.add_argument("--work", default="", help="where they write parts and shards; a new folder is made there")


def create(workers: int) -> tuple[PipelineOptions, PipelineRunner]:
    """Create PLANTDOC_BEAM's runner, or where it names none one on this machine over `workers` processes (0: cores)."""
    given = shlex.split(environment.read().beam)
    if here := not any(flag.partition("=")[0] == "--runner" for flag in given):
        number = workers or parallel.cores()
        mode = "in_memory" if number == 1 else "multi_processing"
        given += [f"--direct_running_mode={mode}", f"--direct_num_workers={number}"]
    options = PipelineOptions([*given, "--default_sdk_harness_log_level=CRITICAL"])
    FileSystems.set_options(options)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    if here:
        # src/ is never installed, and the processes of this runner are started afresh.
        src = str(Path(__file__).resolve().parents[3])
        os.environ["PYTHONPATH"] = os.pathsep.join([src, *filter(None, [os.environ.get("PYTHONPATH")])])
        # Beam's DirectRunner would first look on GitHub for a program that runs pipelines, and end up at this one.
        encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
        info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
        return options, FnApiRunner(provision_info=ExtendedProvisionInfo(info))
    try:
        return options, create_runner(options.view_as(StandardOptions).runner)
    except (ValueError, ImportError) as error:
        raise UserError(f"{OPTIONS} = {environment.read().beam!r}: {error}") from None
