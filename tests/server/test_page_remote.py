"""The web page in front of a SageMaker endpoint and of the public API, with the server's real /info.

Behind them is the handler of the bundle itself, with a stand-in for TensorFlow Serving that finds one leaf in anything.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import browser
import container_handler
import fake_api_gateway
import pytest
import running_server
from browser import PATIENCE, Visit
from PIL import Image
from playwright.sync_api import expect

from plantdoc.public_api import lambda_zip

ENDPOINT = "plant-disease-detector"
MODES = ("endpoint", "api")
NOT_READY = (429, "ModelNotReadyException", {"Message": "resources are being provisioned"})
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium():
    with browser.running() as running:
        yield running


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    respond = container_handler.detector(tmp_path_factory.mktemp("bundle"))
    with fake_api_gateway.runtime(plant_disease_detector=respond) as stand:
        yield stand


@contextlib.contextmanager
def served(mode: str, stand: fake_api_gateway.Runtime, folder: Path) -> Iterator[running_server.Served]:
    """A server in front of the endpoint, or of the API in front of it; `folder` holds no bundle."""
    aws = {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": stand.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    if mode == "endpoint":
        with running_server.running("--endpoint", ENDPOINT, cwd=folder, **aws) as server:
            yield server
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (aws | {"ENDPOINT": ENDPOINT, "ACCESS": "open"}).items():
            patch.setenv(name, value)
        function = container_handler.loaded("function", lambda_zip.FUNCTION)
        with (
            fake_api_gateway.gateway(function.handler) as url,
            running_server.running("--api", url, cwd=folder) as server,
        ):
            yield server


@pytest.fixture(params=MODES)
def server(request, stand, tmp_path) -> Iterator[running_server.Served]:
    """A server whose endpoint is not ready, so that nothing is known of the model."""
    stand.refuses = NOT_READY
    with served(request.param, stand, tmp_path) as server:
        assert server.client.get("/ping").status_code == 503
        yield server
    stand.refuses = None


@pytest.fixture
def visit(chromium, server) -> Iterator[Visit]:
    visit = Visit(chromium.new_page())
    visit.page.goto(server.url)
    expect(visit.page.locator("#about")).to_contain_text("Answers from", timeout=PATIENCE)
    yield visit
    visit.page.close()
    assert [line for line in visit.problems if "status of 503" not in line] == []


def noise(folder: Path, name: str, size: tuple[int, int] = (640, 480)) -> Path:
    Image.effect_noise(size, 60).convert("RGB").save(folder / name, quality=95)
    return folder / name


def test_a_photo_is_answered_through_every_mode_from_the_first_moment_on(visit, server, stand, tmp_path):
    info = server.client.get("/info").json()
    assert (info["threshold"], info["model"], info["max_bytes"]) == (None, None, 4_000_000)
    visit.show(noise(tmp_path, "early.jpg"))
    expect(visit.page.get_by_role("alert")).to_contain_text("The endpoint is starting: try again in a minute")
    assert visit.page.locator("#canvas").get_attribute("aria-label") == "early.jpg: no answer"

    stand.refuses = None
    held, let_go = [], []
    visit.page.route("**/info", lambda route: route.continue_() if let_go else held.append(route))
    visit.show(noise(tmp_path, "leaf.jpg"))
    assert visit.text("#verdict") == "1 possible leaf", "what scores 90 % is shown at 50 %"
    assert (visit.text("#percent"), visit.page.locator("#threshold").input_value()) == ("50 %", "0.5")
    assert visit.text("#assumed") == "The model has not told its own threshold yet: 50 % is assumed."
    assert visit.page.locator("#canvas").get_attribute("aria-label") == "leaf.jpg: Corn rust leaf 90 %"
    assert "threshold=0.05" in visit.asked[-1].url
    assert visit.sent() == (tmp_path / "leaf.jpg").read_bytes(), "as it is"

    let_go.append(True)
    for route in held:
        route.continue_()
    expect(visit.page.locator("#assumed")).to_be_hidden(timeout=PATIENCE)  # by then the server knows
    assert server.client.get("/info").json()["threshold"] == 0.5


def test_a_photo_over_the_limits_is_made_smaller_and_answered(visit, server, stand, tmp_path):
    stand.refuses = None
    large = noise(tmp_path, "large.jpg", (4200, 3000))
    assert large.stat().st_size > 4_000_000
    visit.show(large)
    assert visit.text("#verdict") == "1 possible leaf"
    sent = visit.sent()
    assert len(sent) <= 4_000_000 and max(Image.open(io.BytesIO(sent)).size) <= 4096
