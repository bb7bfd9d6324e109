"""The metadata service of one machine (IMDSv2): who it is, its role's credentials, and that its time is up."""

from __future__ import annotations

import http.server
import json
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta

ROLE = "plant-disease-machine"


class Metadata(http.server.ThreadingHTTPServer):
    """Serves on a loopback port of its own. Without a token it answers nothing, as where HttpTokens is `required`.

    For the first `late` seconds it has no credentials of the role, as after the start of an instance on EC2.
    """

    daemon_threads = True

    def __init__(self, facts: dict[str, str], credentials: tuple[str, str] | None, user_data: bytes, late: float = 0.0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.facts, self.credentials, self.user_data = facts, credentials, user_data
        self.credentials_from = time.monotonic() + late
        self.notice: datetime | None = None
        self.refused = 0
        self.tokens: dict[str, float] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def find(self, path: str) -> str | bytes | None:
        """What is at `path` below /latest/; None where there is nothing."""
        if path in self.facts:
            return self.facts[path]
        credentials = "meta-data/iam/security-credentials/"
        if path.startswith(credentials.rstrip("/")) and time.monotonic() < self.credentials_from:
            return None
        if path.rstrip("/") == credentials.rstrip("/"):
            return ROLE if self.credentials else None
        if path == credentials + ROLE and self.credentials:
            return self._credentials(*self.credentials)
        if path == "meta-data/spot/instance-action" and self.notice:
            return json.dumps({"action": "terminate", "time": _stamp(self.notice)})
        if path == "meta-data/spot/termination-time" and self.notice:
            return _stamp(self.notice)
        return self.user_data if path == "user-data" else None

    def _credentials(self, key: str, secret: str) -> str:
        now = datetime.now(UTC)
        return json.dumps(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "LastUpdated": _stamp(now),
                "AccessKeyId": key,
                "SecretAccessKey": secret,
                "Token": "a-session-token",
                "Expiration": _stamp(now + timedelta(hours=6)),
            }
        )


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Metadata

    def do_PUT(self) -> None:
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token":
            return self._send(404)
        if not seconds.isdigit() or not 1 <= int(seconds) <= 21600 or self.headers.get("X-Forwarded-For"):
            return self._send(400)
        token = secrets.token_urlsafe(32)
        self.server.tokens[token] = time.monotonic() + int(seconds)
        self._send(200, token)

    def do_GET(self) -> None:
        token = self.headers.get("X-aws-ec2-metadata-token", "")
        if self.server.tokens.get(token, 0) < time.monotonic():
            self.server.refused += 1
            return self._send(401)
        found = self.server.find(self.path.removeprefix("/latest/").removeprefix("/"))
        self._send(404 if found is None else 200, found or "")

    def _send(self, status: int, body: str | bytes = "") -> None:
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """No line per request."""


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
