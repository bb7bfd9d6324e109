"""The bundle's own handler, in this process, in front of a stand-in for TensorFlow Serving that decodes with Pillow."""

from __future__ import annotations

import base64
import http.server
import importlib.util
import io
import json
import threading
import types
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import rectangle_bundles
from PIL import Image

ROW = {"boxes": [[1.0, 2.0, 3.0, 4.0]], "scores": [0.9], "class_ids": [1], "class_names": ["Corn rust leaf"]}
SECRET = "File /opt/ml/model/code/inference.py, line 3, key AKIAIOSFODNN7EXAMPLE"
HANDLER = Path(__file__).resolve().parents[2] / "src/plantdoc/serving/handler/inference.py"


def loaded(name: str, path: Path) -> ModuleType:
    """The module at `path`, imported anew."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def detector(folder: Path) -> Callable[[str, str, bytes], bytes]:
    """Handle requests of a content type, attributes and a body; the model finds one box in whatever can be decoded."""
    (folder / "code").mkdir()
    (folder / "code/inference.py").write_bytes(HANDLER.read_bytes())
    (folder / "serving.json").write_text(json.dumps(rectangle_bundles.SERVING))
    module = loaded("bundle_inference", folder / "code/inference.py")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Serving)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}/v1/models/model:predict"

    def respond(kind: str, attributes: str, body: bytes) -> bytes:
        context = types.SimpleNamespace(custom_attributes=attributes, request_content_type=kind, rest_uri=uri)
        return module.handler(io.BytesIO(body), context)[0]

    return respond


class _Serving(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            for instance in asked["instances"]:
                Image.open(io.BytesIO(base64.b64decode(instance["image_bytes"]["b64"]))).load()
            status, answer = 200, {"predictions": [ROW] * len(asked["instances"])}
        except OSError:
            status, answer = 400, {"error": SECRET}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        """No line per request."""
