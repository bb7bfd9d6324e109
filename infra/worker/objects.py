"""The machine's first words with S3, by Python's own library alone: nothing else is on a fresh machine.

    python3 objects.py code SHA256 FOLDER           fetch the code, check it, unpack it as FOLDER
    python3 objects.py phase NAME                   write the attempt's status.json
    python3 objects.py failed EXIT REASON [LOG]     write its end.json, with LOG's last lines, unless there is one

Which attempt of which run is in the environment (PLANTDOC_…); credentials are the machine's own, by IMDSv2. What lies
where: src/plantdoc/aws/run_store.py. Goes into user-data as it is; works on Python 3.8 and newer.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import random
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request

TRIES = int(os.environ.get("AWS_MAX_ATTEMPTS", "10"))  # with back-off in between: about a minute and a half
# S3's answers that stay the same. A role that is minutes old may be refused (403) at first, and a conditional write
# that meets another one (409) is to be repeated.
FINAL = (400, 404, 405, 412)
METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/") + "/latest/"
TOKEN = "X-aws-ec2-metadata-token"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def code(sha256: str, folder: str) -> None:
    archive = folder + ".tar.gz"

    def fetch() -> None:
        with s3("GET", f"code/{sha256}.tar.gz") as answer, open(archive, "wb") as file:
            shutil.copyfileobj(answer, file)
        found = hashlib.sha256()
        with open(archive, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                found.update(block)
        if found.hexdigest() != sha256:
            raise ValueError(f"its SHA-256 is {found.hexdigest()}")

    insist(f"the code {sha256}", fetch)
    with tarfile.open(archive) as file:
        if hasattr(tarfile, "data_filter"):
            file.extractall(folder, filter="data")
        else:  # Python before 3.11.4, 3.10.12, …
            file.extractall(folder, [member for member in file if is_safe(member)])
    os.remove(archive)


def is_safe(member: tarfile.TarInfo) -> bool:
    """Whether it is a file, folder or link that stays inside."""
    paths = (member.name, member.linkname)
    return not member.isdev() and not any(path.startswith("/") or ".." in path.split("/") for path in paths)


def phase(name: str) -> None:
    body = {"time": time.time(), "phase": name, "epoch": 0, "epochs": 0, "step": 0, "steps": 0}
    put("status.json", dict(body, val_map50=None, log=0))


def failed(status: str, reason: str, log: str | None = None) -> None:
    if log and os.path.exists(log):
        with open(log, "rb") as file:
            file.seek(max(0, os.path.getsize(log) - 1500))
            reason += ":\n" + "\n".join(file.read().decode("utf-8", "replace").strip().splitlines()[-15:])
    body = {"time": time.time(), "state": "failed", "reason": reason, "exit": int(status)}
    put("end.json", body, {"if-none-match": "*"})


def put(name: str, body: dict, headers: dict | None = None) -> None:
    key = f"{os.environ['PLANTDOC_RUN_ID']}/{os.environ['PLANTDOC_ATTEMPT']}/{name}"
    content = json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"

    def send() -> None:
        try:
            s3("PUT", key, content, headers).close()
        except urllib.error.HTTPError as error:
            if error.code != 412:  # it was there already, and stays
                raise

    insist(name, send)


def insist(what: str, action) -> None:
    """Call `action` until it works, or stop with what went wrong."""
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            fault = error
        if attempt == TRIES or getattr(fault, "code", None) in FINAL:
            break
        time.sleep(min(0.5 * 2**attempt, 20) * random.uniform(0.5, 1))
    who = "" if isinstance(fault, NoCredentials) else "S3 said: "
    sys.exit(f"{what}: {who}{fault} ({type(fault).__name__})")


def s3(method: str, key: str, body: bytes | None = None, headers: dict | None = None):
    """The answer to a request for `runs/<key>` of the bucket, signed as AWS's signature version 4 has it."""
    bucket, region, keys = os.environ["PLANTDOC_BUCKET"], os.environ["PLANTDOC_REGION"], credentials()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3")
    if endpoint:
        url = f"{endpoint.rstrip('/')}/{bucket}/runs/{key}"
    else:
        domains = {"cn": "amazonaws.com.cn", "eusc": "amazonaws.eu"}
        domain = domains.get(region.split("-")[0], "amazonaws.com")
        url = f"https://{bucket}.s3.{region}.{domain}/runs/{key}"
    parts = urllib.parse.urlsplit(url)
    stamp, content = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), hashlib.sha256(body or b"").hexdigest()
    headers = dict(headers or {}, host=parts.netloc)
    headers.update({"x-amz-date": stamp, "x-amz-content-sha256": content})
    if keys["Token"]:
        headers["x-amz-security-token"] = keys["Token"]
    names = sorted(headers)
    lines = [method, urllib.parse.quote(parts.path), "", *(f"{name}:{headers[name]}" for name in names)]
    request = "\n".join([*lines, "", ";".join(names), content])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = ("AWS4" + keys["SecretAccessKey"]).encode()
    for part in (*scope.split("/"), text):
        signature = hmac.new(signature, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys['AccessKeyId']}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature.hex()}"
    )
    return OPENER.open(urllib.request.Request(url, body, headers, method=method), timeout=30)


class NoCredentials(LookupError):
    """The metadata service has no credentials of the role: right after the start it answers 404 for a while."""


def credentials() -> dict:
    """Key, secret and token of the machine's role."""
    try:
        return ask_credentials()
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        # Without the answer's code: what is final from S3 is not from this service.
        raise NoCredentials(f"the instance's role has no credentials yet: {error}") from error


def ask_credentials() -> dict:
    ask = urllib.request.Request(METADATA + "api/token", headers={TOKEN + "-ttl-seconds": "60"}, method="PUT")
    with OPENER.open(ask, timeout=5) as answer:
        headers = {TOKEN: answer.read().decode()}
    place = METADATA + "meta-data/iam/security-credentials/"
    with OPENER.open(urllib.request.Request(place, headers=headers), timeout=5) as answer:
        role = answer.read().decode().split()[0]
    with OPENER.open(urllib.request.Request(place + role, headers=headers), timeout=5) as answer:
        found = json.load(answer)
    return {name: found[name] for name in ("AccessKeyId", "SecretAccessKey", "Token")}


if __name__ == "__main__":
    {"code": code, "phase": phase, "failed": failed}[sys.argv[1]](*sys.argv[2:])
