"""A stand-in for AWS's TensorFlow inference container, as a process of its own, started from an unpacked bundle.

`python fake_sagemaker_container.py FOLDER` does what the image's serve.py, python_service.py and TensorFlow Serving do
together (see github.com/aws/deep-learning-containers, scripts/docker/tensorflow/inference/sagemaker): loads FOLDER/1
with the TensorFlow of this Python, imports FOLDER/code/inference.py with FOLDER/code and FOLDER/code/lib on the path
and nothing of this repository, and prints `ready PORT` when it answers GET /ping and POST /invocations. It needs
TensorFlow.

Where there is no FOLDER/code/lib, the image would install FOLDER/code/requirements.txt from a package index: here is
none, and it does not start. The image has no Pillow: that of this Python is out of reach, but by FOLDER/code/lib.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import sys
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

# The image's, field by field; `timeout` is new in 2.20.
Context = namedtuple(
    "Context",
    "model_name, model_version, method, rest_uri, grpc_port, channel, "
    "custom_attributes, request_content_type, accept_header, content_length, timeout",
)


class Body:
    """A request's body as the handler gets it: a stream that ends with the request."""

    def __init__(self, file, length: int):
        self._file, self._left = file, length

    def read(self, size: int | None = None) -> bytes:
        size = self._left if size is None or size < 0 else min(size, self._left)
        data = self._file.read(size)
        self._left -= len(data)
        return data


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        """No line per request."""

    def respond(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def service(inference, rest_uri: str) -> type[Handler]:
    """python_service.py: the bundle's code around the model."""

    class Service(Handler):
        def do_GET(self) -> None:
            self.respond(*((200, b"") if self.path == "/ping" else (404, b'{"error": "Not Found"}')))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            stream = Body(self.rfile, length)
            context = Context(
                None,
                None,
                None,
                rest_uri,
                "8500",
                None,
                self.headers.get("X-Amzn-SageMaker-Custom-Attributes"),
                self.headers.get("Content-Type") or "application/json",
                self.headers.get("Accept") or "application/json",
                length,
                60,
            )
            try:
                body, kind = inference.handler(stream, context)
                self.respond(200, body, kind)
            except Exception as error:  # the container's own way with whatever the code raises
                self.respond(500, json.dumps({"error": str(error)}).encode())
            finally:
                stream.read()

    return Service


def rest(signature, tf) -> type[Handler]:
    """TensorFlow Serving's POST /v1/models/model:predict, in its row format."""

    class Rest(Handler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/models/model:predict" or asked.get("signature_name") != "serving_default":
                return self.respond(404, b'{"error": "Servable not found for request"}')
            rows = asked["instances"]
            given = {
                "image_bytes": tf.constant([base64.b64decode(row["image_bytes"]["b64"]) for row in rows]),
                "orientation": tf.constant([row["orientation"] for row in rows], tf.int32),
            }
            try:
                found = {name: values.numpy() for name, values in signature(**given).items()}
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
                return self.respond(400, json.dumps({"error": error.message}).encode())
            predictions = [{name: plain(values[i]) for name, values in found.items()} for i in range(len(rows))]
            self.respond(200, json.dumps({"predictions": predictions}).encode())

    return Rest


def plain(values) -> list:
    """Numbers as JSON has them there: floats in as few digits as give the same 32 bits again; strings as text."""
    if values.dtype.kind == "f":
        return [plain(row) for row in values] if values.ndim > 1 else [float(str(value)) for value in values]
    return [item.decode() for item in values] if values.dtype.kind in "OS" else values.tolist()


def imported(folder: str):
    """The bundle's inference.py, as the image imports it."""
    code = os.path.join(folder, "code")
    lib = os.path.join(code, "lib")
    if os.path.exists(lib):
        sys.path[:0] = [code, lib]
    elif os.path.exists(os.path.join(code, "requirements.txt")):
        sys.exit("installing packages from requirements.txt... there is no package index here")
    else:
        sys.path.insert(0, code)
    if not os.path.exists(os.path.join(lib, "PIL")):
        sys.modules["PIL"] = None
    spec = importlib.util.spec_from_file_location("inference", os.path.join(code, "inference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(handler: type[Handler]) -> int:
    """Start a server on a free port of this machine; returns the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def main(folder: str) -> None:
    inference = imported(folder)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    loaded = tf.saved_model.load(os.path.join(folder, "1"))
    signature = loaded.signatures["serving_default"]
    port = serve(rest(signature, tf))
    print(f"ready {serve(service(inference, f'http://localhost:{port}/v1/models/model:predict'))}", flush=True)
    sys.stdin.read()  # until whoever started it is gone


if __name__ == "__main__":
    main(sys.argv[1])
