"""Serve the detector: a web page, its API, and SageMaker's container contract, on this machine.

    python scripts/serve.py                          the bundle in models/bundle
    python scripts/serve.py detector@v1.2.0          a registered version
    python scripts/serve.py ~/model.tar.gz           any bundle, packed or unpacked
    python scripts/serve.py --endpoint NAME          the page and the API here, the model on SageMaker
    python scripts/serve.py --api URL                the same, through the public API; its key in PLANTDOC_API_KEY

A bundle is code of whoever made it, model included: trust it like a program.

It listens on this machine alone, and is asked as localhost. Behind a proxy that passes the Host of the outside on, name
that: --allow-host leaves.example.org. Pages of other origins may ask it where --allow-origin https://example.org says
so. docs/serving.md has more of this, and the limits on connections.

Ctrl-C ends it. What is asked is written to the standard output, a line of JSON per request, without the photos.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import re
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry, environment, processes, stage
from plantdoc.core.errors import UserError
from plantdoc.repo import names

log = logging.getLogger("plantdoc")


def main() -> None:
    arguments = parse()
    processes.end_on_terminate()
    listening = bound(arguments.host, arguments.port)  # told before the model is loaded
    # Not for --help.
    from plantdoc.server.limits import Limits
    from plantdoc.server.prometheus import Metrics

    limits, metrics = Limits(), Metrics()
    if arguments.endpoint or arguments.api:
        service, examples = remote(arguments)
    else:
        service, examples = local(arguments, limits, metrics)
    run(service, examples, metrics, limits, listening, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a bundle or a version like detector@v1.2.0; default: models/bundle"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: any machine may ask")
    parser.add_argument("--port", type=whole(0, 65535), default=8080, help="to listen at; 0: one that is free")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--endpoint", metavar="NAME", help="a SageMaker endpoint that answers instead")
    where.add_argument("--api", metavar="URL", help="a public API that answers instead")
    parser.add_argument("--region", help="of the endpoint; default: that of the AWS environment")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        type=of_form(names.HOST, "a host name without a port, like leaves.example.org"),
        metavar="NAME",
        help="another name that it may be asked by; may be given several times",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        type=of_form(names.ORIGIN, "an origin, like https://example.org, without a path"),
        metavar="ORIGIN",
        help="of pages elsewhere that may ask; may be given several times",
    )
    parser.add_argument(
        "--keep-alive",
        type=whole(1, 3600),
        default=75,
        metavar="SECONDS",
        help="that a connection stays open after an answer (default 75): longer than a proxy in front keeps it",
    )
    parser.add_argument("--max-batch", type=whole(1, 256), default=8, help="photos in a call of the model (default 8)")
    parser.add_argument(
        "--max-wait-ms",
        type=whole(0, 10_000),
        default=5,
        help="that a photo waits for others to share a call (default 5)",
    )
    parser.add_argument("--no-merging", action="store_true", help="a call of the model for each request")
    parser.add_argument(
        "--threads", type=whole(1, 1024), default=os.cpu_count(), help="of the model (default: all cores)"
    )
    arguments = parser.parse_args()
    if arguments.model and (arguments.endpoint or arguments.api):
        parser.error("MODEL is what this machine serves: leave it out with --endpoint and --api")
    if arguments.model:
        names.checked_or_path(entry.given_or_name(arguments.model), "a bundle or a version")
    if arguments.endpoint:
        names.checked(arguments.endpoint, "an endpoint")
    return arguments


def whole(least: int, most: int):
    """Build an argparse type for whole numbers from `least` to `most`."""

    def number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} to {most}")
        return int(text)

    return number


def of_form(form: re.Pattern[str], what: str):
    """Build an argparse type for text of a form; the result is in lower case."""

    def text(given: str) -> str:
        if not form.fullmatch(given):
            raise argparse.ArgumentTypeError(f"{given} is not {what}")
        return given.lower()

    return text


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at this address: who connects waits until the model is loaded.

    It listens from the start, since two servers can be bound to one port as long as none of them does.

    Raises:
        UserError: the address is taken, or is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen at {host}, port {port} ({why}): end what listens there, or choose another, like PORT=8081"
        ) from None
    return listening


def local(arguments: argparse.Namespace, limits, metrics):
    """Backend and folder of examples for a model in this process."""
    from plantdoc.registry import bundles
    from plantdoc.server.loaded_model import Model
    from plantdoc.server.local_backend import Local

    bundle = bundles.find(entry.given_or_name(arguments.model) or "models/bundle")
    log.info("serve: loading %s", bundle.version)
    model = Model(bundle.model, arguments.threads)
    model.warm(arguments.max_batch)
    merging = {"most": arguments.max_batch, "wait": arguments.max_wait_ms / 1000, "merge": not arguments.no_merging}
    return Local(bundle, model, limits, seen=metrics.batch, **merging), bundle.examples


def remote(arguments: argparse.Namespace):
    """Backend and folder of examples for a model elsewhere."""
    from plantdoc.registry import bundles

    if arguments.endpoint:
        from plantdoc.server.sagemaker_backend import Endpoint

        service = Endpoint(arguments.endpoint, arguments.region)
    else:
        from plantdoc.server.public_api_backend import PublicApi

        service = PublicApi(arguments.api, environment.read().api_key or None)
    try:
        return service, bundles.find().examples
    except UserError:
        return service, None  # there is no bundle here, and none is needed


def run(service, examples, metrics, limits, listening: socket.socket, arguments: argparse.Namespace) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    from plantdoc.server import app
    from plantdoc.server.access_log import Lines
    from plantdoc.server.http_server import HttpServer
    from plantdoc.server.limits import of_system

    lines = Lines(sys.stdout)
    lines.start()

    def opened() -> None:
        log.info("serve: open %s (Ctrl-C ends it)", url(listening))

    def last() -> None:
        log.info("serve: stopped; what was still being answered is cut off")
        lines.stop()

    application = app.create(service, examples, metrics, lines.write, limits, callers(listening, arguments))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        HttpServer(application, of_system(arguments.keep_alive), opened, last).run(sockets=[listening])
    except KeyboardInterrupt:  # the ordinary end
        log.info("serve: stopped")
    finally:
        lines.stop()


def callers(listening: socket.socket, arguments: argparse.Namespace):
    """Who may ask: on loopback by the names of this machine alone, elsewhere by any name where none was given."""
    from plantdoc.server.callers import LOOPBACK, Callers

    address = str(listening.getsockname()[0])
    if not (ipaddress.ip_address(address).is_loopback or arguments.allow_host):
        return Callers((), tuple(arguments.allow_origin))
    own = f"[{address}]" if ":" in address else address
    hosts = dict.fromkeys((*LOOPBACK, own, arguments.host.lower(), *arguments.allow_host))
    return Callers(tuple(hosts), tuple(arguments.allow_origin))


def url(listening: socket.socket) -> str:
    """Address for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(host), str(host))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    stage.run(main)
