"""A server that answers as much of W&B's protocol as a run needs, and keeps what it was told, in memory."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROJECT = {"id": "p", "internalId": "p", "name": "project", "entity": {"id": "e", "name": "me"}}


class FakeWandb:
    """What the server was told: runs by id, history by run and line, artifacts by name, which run used which."""

    def __init__(self):
        self.url = ""
        self.runs: dict[str, dict] = {}
        self.history: dict[str, dict[int, str]] = {}
        self.artifacts: dict[str, dict] = {}
        self.used: list[tuple[str, str]] = []
        self.unknown: list[str] = []

    def steps(self, run: str) -> list[int]:
        """The steps in a run's history, line by line."""
        return [json.loads(line)["_step"] for _, line in sorted(self.history[run].items())]

    def _artifact(self, id: str) -> dict:
        about = next(one for one in self.artifacts.values() if one["id"] == id)
        return {
            "__typename": "Artifact",
            "id": id,
            "artifactSequence": {"__typename": "ArtifactSequence", "name": about["name"], "project": PROJECT},
            "versionIndex": 0,
            "artifactType": {"name": about["type"]},
            "description": None,
            "metadata": about["metadata"],
            "ttlDurationSeconds": -1,
            "ttlIsInherited": False,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": 0,
            "digest": about["digest"],
            "commitHash": None,
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [],
        }

    def respond(self, name: str, variables: dict) -> dict:
        """The data that a GraphQL operation gets."""
        if name == "Viewer":
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if name == "RunResumeStatus":
            return {"model": {**PROJECT, "bucket": self._bucket(variables["name"])}}
        if name == "UpsertBucket":
            run = variables["name"]
            new = run not in self.runs
            self.runs.setdefault(run, {}).update({key: value for key, value in variables.items() if value is not None})
            return {"upsertBucket": {"bucket": self._bucket(run) | {"project": PROJECT}, "inserted": new}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if name == "ArtifactType":
            return {"project": {"artifact": None}}
        if name == "CreateArtifact":
            about = variables["input"]
            collection = about["artifactCollectionName"]
            known = self.artifacts.get(collection, {})
            # The same content again is the same version, which stays that of the run that logged it first.
            run = known.get("run") if known.get("digest") == about["digest"] else None
            self.artifacts[collection] = {
                "id": f"id-of-{collection}",
                "name": collection,
                "type": about["artifactTypeName"],
                "metadata": about["metadata"],
                "digest": about["digest"],
                "run": run or about["runName"],
            }
            sequence = {"id": "s", "latestArtifact": None}
            artifact = {"id": f"id-of-{collection}", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        if name == "UseArtifact":
            about = variables.get("input", variables)
            self.used.append((about["runName"], about["artifactID"]))
            return {"useArtifact": {"artifact": {"id": about["artifactID"]}}}
        if name == "ArtifactByID":
            return {"artifact": self._artifact(variables["id"])}
        self.unknown.append(name)
        return {}

    def _bucket(self, run: str) -> dict | None:
        if run not in self.runs:
            return None
        lines = [line for _, line in sorted(self.history.get(run, {}).items())]
        return {
            "id": f"bucket-{run}",
            "name": run,
            "displayName": self.runs[run].get("displayName"),
            "summaryMetrics": "{}",
            "config": "{}",
            "wandbConfig": json.dumps({"t": 1}),  # without it a run counts as never begun
            "tags": [],
            "sweepName": None,
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyLineCount": len(lines),
            "historyTail": json.dumps(lines[-1:]),
            "eventsTail": "[]",
        }


@contextlib.contextmanager
def running() -> Iterator[FakeWandb]:
    """Start it and yield what it is being told; `url` is where it is."""
    fake = FakeWandb()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/graphql":
                query = json.loads(body)
                name = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])[1]
                self.reply({"data": fake.respond(name, query.get("variables") or {})})
                return
            if self.path.endswith("/file_stream"):
                run = self.path.split("/")[-2]
                if history := json.loads(body).get("files", {}).get("wandb-history.jsonl"):
                    rows = enumerate(history["content"], start=history["offset"])
                    fake.history.setdefault(run, {}).update(rows)
            self.reply({})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.reply({})

        def reply(self, content: dict) -> None:
            data = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_) -> None:
            """A client that is gone is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
