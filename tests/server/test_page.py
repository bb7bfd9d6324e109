"""The web page: what a grower does with it, in a browser, against the real server with the detector of rectangles."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import subprocess
from pathlib import Path

import browser
import external_programs
import numpy as np
import pytest
import rectangle_bundles
import running_server
from browser import PATIENCE, Visit
from PIL import Image
from playwright.sync_api import expect

COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}  # as in rectangle_detector.py
DRAWN = {
    "red": (213, 94, 0),
    "green": (86, 180, 233),
    "blue": (240, 228, 66),
}  # plantdoc.visualize.drawing's first three
SIZE = (640, 480)
BOXES = {"red": (100, 80, 200, 120), "green": (350, 200, 180, 200), "blue": (60, 300, 200, 120)}
GRAIN = 640 / 128  # px of such a picture to a px of what the model sees


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> str:
    """The address of a server; its scores are red 0.9, green 0.8, blue 0.7, its threshold 0.5."""
    folder = tmp_path_factory.mktemp("page")
    with running_server.running(rectangle_bundles.rectangles(folder), "--threads", "1") as running:
        yield running.url


@pytest.fixture(scope="module")
def chromium():
    with browser.running() as running:
        yield running


@pytest.fixture
def visit(chromium, server):
    """A person at a desk, the page open. Afterwards the console must have nothing to complain of."""
    yield from visiting(chromium, server, viewport={"width": 1200, "height": 900})


@pytest.fixture
def phone(chromium, server):
    """The same on a small phone."""
    how = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}
    yield from visiting(chromium, server, **how)


def visiting(chromium, server, **how):
    context = chromium.new_context(**how)
    visit = Visit(context.new_page())
    visit.open(server)
    yield visit
    context.close()
    assert visit.problems == []


def picture(size=SIZE, boxes=BOXES, factor: int = 1) -> Image.Image:
    """A dark picture with a rectangle of each colour; `factor` enlarges all of it."""
    image = Image.new("RGB", (size[0] * factor, size[1] * factor), (60, 60, 60))
    for name, xywh in boxes.items():
        x, y, w, h = (side * factor for side in xywh)
        image.paste(COLOURS[name], (x, y, x + w, y + h))
    return image


@pytest.fixture
def three(tmp_path) -> Path:
    """A file with all three rectangles."""
    picture().save(tmp_path / "three.png")
    return tmp_path / "three.png"


def canvas(visit: Visit) -> np.ndarray:
    """The pixels of the canvas, RGB."""
    url = visit.page.evaluate("() => document.getElementById('canvas').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"), int)


def centres(line: np.ndarray, colour) -> list[float]:
    """The middles of the runs of a colour on a row or column of pixels."""
    near = np.flatnonzero(np.abs(line - colour).max(axis=-1) < 25)
    return [float(run.mean()) + 0.5 for run in np.split(near, np.flatnonzero(np.diff(near) > 1) + 1) if len(run)]


def drawn_box(pixels: np.ndarray, name: str, at) -> list[float]:
    """Where the lines of a box really are (left, top, right, bottom), `at` being about its xywh in these pixels.

    Looked for at the middle of its height, and near its right end, where its label does not lie.
    """
    x, y, w, h = at
    row, column = pixels[round(y + h / 2)], pixels[:, round(x + w * 0.97)]
    across, down = centres(row, DRAWN[name]), centres(column, DRAWN[name])
    assert across and down, f"no box of {name}'s colour"
    return [across[0], down[0], across[-1], down[-1]]


def seen(pixels: np.ndarray) -> set[str]:
    """The names whose colour is drawn."""
    return {name for name, colour in DRAWN.items() if (np.abs(pixels - colour).max(axis=-1) < 8).sum() > 50}


def assert_boxes(pixels: np.ndarray, boxes, size, within: float) -> None:
    """All boxes (xywh in a picture of `size`) are drawn where they belong, `within` px of the picture, give or take 1
    px of the screen."""
    scale = pixels.shape[1] / size[0]
    assert pixels.shape[0] == pytest.approx(size[1] * scale, abs=1.5)
    for name, (x, y, w, h) in boxes.items():
        found = drawn_box(pixels, name, (x * scale, y * scale, w * scale, h * scale))
        inside = pixels[round((y + h * 0.8) * scale), round((x + w * 0.8) * scale)]
        assert inside == pytest.approx(COLOURS[name], abs=30)  # and the picture is the right way up
        assert found == pytest.approx([x * scale, y * scale, (x + w) * scale, (y + h) * scale], abs=within * scale + 1)


def names(visit: Visit) -> list[str]:
    return visit.page.locator("tbody td:nth-child(2)").all_inner_texts()


def choose(visit: Visit, file: Path) -> None:
    with visit.page.expect_file_chooser() as chooser:
        visit.page.locator("#choose").click()
    chooser.value.set_files(file)


def drop(visit: Visit, *files: Path) -> None:
    visit.page.evaluate("() => addEventListener('drop', (event) => { window.prevented = event.defaultPrevented; })")
    session = visit.page.context.new_cdp_session(visit.page)
    data = {"items": [], "files": [*map(str, files)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 700, "data": data})
    expect(visit.page.locator("body.dropping")).to_be_attached(timeout=PATIENCE)
    session.send("Input.dispatchDragEvent", {"type": "drop", "x": 600, "y": 700, "data": data})
    expect(visit.page.locator("body:not(.dropping)")).to_be_attached(timeout=PATIENCE)
    assert visit.page.evaluate("() => window.prevented")  # else the browser leaves the page for the file


def paste(visit: Visit, file: Path) -> None:
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.evaluate(
        """async (text) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            await navigator.clipboard.write([new ClipboardItem({"image/png": new Blob([bytes], {type: "image/png"})})]);
        }""",
        base64.b64encode(file.read_bytes()).decode(),
    )
    visit.page.keyboard.press("Control+V")


FULL = pytest.mark.full


@pytest.mark.slow
@pytest.mark.parametrize("way", [choose, pytest.param(drop, marks=FULL), pytest.param(paste, marks=FULL)])
def test_a_picture_comes_in_and_its_boxes_are_drawn_where_they_are(visit, three, way):
    way(visit, three)
    expect(visit.page.locator("#verdict")).to_have_text("3 possible leaves", timeout=PATIENCE)
    answer = visit.response()
    pixels = canvas(visit)
    said = {one["class_name"]: one["box"] for one in answer["detections"]}
    assert_boxes(pixels, said, SIZE, within=0)  # just as the server said
    assert_boxes(pixels, BOXES, SIZE, within=GRAIN)  # and that is where they are
    assert names(visit) == ["red", "green", "blue"]
    assert visit.page.locator("tbody .score").all_inner_texts() == ["90 %", "80 %", "70 %"]
    assert answer["model"] in visit.text("#answered")
    if way is not paste:
        assert visit.text("#caption") == "three.png · 640 × 480 px"
        assert visit.sent() == three.read_bytes()  # as it is, not encoded anew


@pytest.mark.slow
def test_the_slider_chooses_among_what_came_without_asking_again(visit, three):
    visit.show(three)
    assert visit.page.locator("#threshold").input_value() == "0.5"  # the model's own
    expect(visit.page.locator("#usual")).to_be_hidden()
    place = visit.page.locator("#threshold").bounding_box()
    for threshold, left in ((0.95, []), (0.75, ["red", "green"]), (0.85, ["red"]), (0.05, ["red", "green", "blue"])):
        visit.move_slider(threshold)
        assert visit.page.locator("#threshold").bounding_box() == place  # it does not slip away below the finger
        assert names(visit) == left
        assert seen(canvas(visit)) == set(left)
        assert visit.page.locator("#status").text_content() == visit.text("#verdict")
        assert visit.text("#percent") == f"{threshold:.0%}".replace("%", " %")
    assert "weak guesses" in visit.text("#hint")  # below the model's own threshold
    visit.page.locator("#usual").click()
    assert visit.page.locator("#threshold").input_value() == "0.5"
    assert len(visit.asked) == 1


@pytest.mark.full
def test_a_picture_without_leaves_is_said_to_have_none(visit, three, tmp_path):
    Image.new("RGB", SIZE, (60, 60, 60)).save(tmp_path / "path.jpg")
    visit.show(tmp_path / "path.jpg")
    assert visit.text("#verdict") == "No known leaf found"
    assert visit.text("#hint").startswith("Nothing scores 50 % or more, and there is not even a weak guess.")
    expect(visit.page.locator("#table")).to_be_hidden()
    visit.show(three)
    visit.move_slider(0.95)
    assert visit.text("#verdict") == "No known leaf found"
    assert visit.text("#hint") == (
        "Nothing scores 95 % or more. Move the slider to the left to see 3 weaker guesses; the best one scores 90 %."
    )
    assert seen(canvas(visit)) == set()


@pytest.mark.slow
def test_a_file_that_is_no_picture_is_refused_in_words_and_not_sent(visit, three, tmp_path):
    visit.show(three)
    (tmp_path / "notes.txt").write_text("Leaves: brown.")
    visit.show(tmp_path / "notes.txt")
    expect(visit.page.get_by_role("alert")).to_have_text(
        "notes.txt: That is no picture this browser can show. Choose a JPEG, PNG or WebP file."
    )
    expect(visit.page.locator("#result")).to_be_hidden()  # the picture before must not look like this one
    assert len(visit.asked) == 1
    visit.show(three)
    expect(visit.page.get_by_role("alert")).to_be_hidden()


@pytest.mark.full
def test_what_the_server_refuses_is_shown_in_its_words(visit, tmp_path):
    Image.new("RGB", (9, 40)).save(tmp_path / "tiny.png")
    visit.show(tmp_path / "tiny.png")
    message = visit.response()["error"]["message"]
    assert "9 × 40" in message
    expect(visit.page.get_by_role("alert")).to_have_text(f"tiny.png: {message[0].upper()}{message[1:]}.")
    assert [line for line in visit.problems if "status of 422" not in line] == []
    visit.problems.clear()  # the browser notes every refused request


@pytest.mark.slow
def test_a_server_that_fails_is_explained(visit, three):
    for answer, words in (
        (lambda route: route.abort(), "The server cannot be reached"),
        (lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"), "could not reach the model"),
        (lambda route: route.fulfill(status=429, json={"message": "Too Many Requests"}), "There are too many requests"),
        (lambda route: route.fulfill(status=503, json={"message": "Service Unavailable"}), "it may be starting"),
        (lambda route: route.fulfill(status=418, body="{}"), "The server answered with error 418."),
        (lambda route: route.fulfill(status=200, body="<h1>Log in</h1>"), "answer cannot be read"),
    ):
        visit.page.route("**/invocations*", answer)
        visit.show(three)
        assert words in visit.text("#error")
        visit.page.unroute("**/invocations*")
    assert all("Failed to load resource" in line for line in visit.problems)
    visit.problems.clear()
    visit.show(three)  # and the page lives on
    assert len(names(visit)) == 3


def label(visit: Visit) -> str | None:
    """The accessible name of the picture that is shown."""
    return visit.page.locator("#canvas").get_attribute("aria-label")


@pytest.mark.slow
def test_the_accessible_name_is_that_of_the_picture_that_is_shown(visit, three, tmp_path):
    Image.new("RGB", (9, 40)).save(tmp_path / "tiny.png")
    visit.show(tmp_path / "tiny.png")  # refused, and shown
    assert label(visit) == "tiny.png: no answer"
    visit.show(three)
    assert label(visit) == "three.png: red 90 %, green 80 %, blue 70 %"
    visit.move_slider(0.95)
    assert label(visit) == "three.png: no box"
    held = []
    visit.page.route("**/invocations*", lambda route: held.append(route))
    picture(boxes={"blue": BOXES["blue"]}).save(tmp_path / "late.png")
    visit.page.set_input_files("#file", tmp_path / "late.png")
    expect(visit.page.locator("#status")).to_have_text("Looking for leaves in late.png …", timeout=PATIENCE)
    assert label(visit) == "late.png: not looked at yet"
    held[0].abort()
    visit.done()
    assert label(visit) == "late.png: no answer"
    visit.problems.clear()  # the browser notes both


@pytest.mark.slow
def test_of_several_files_the_first_picture_is_looked_at_and_the_others_are_said(visit, three, tmp_path):
    picture(boxes={"blue": BOXES["blue"]}).save(tmp_path / "late.png")
    (tmp_path / "notes.txt").write_text("Leaves: brown.")
    drop(visit, tmp_path / "notes.txt", three, tmp_path / "late.png")
    expect(visit.page.locator("#verdict")).to_have_text("3 possible leaves", timeout=PATIENCE)
    expect(visit.page.locator("#others")).to_be_visible()
    assert visit.text("#others") == "One photo at a time: of 3 files, three.png is looked at."
    visit.show(tmp_path / "late.png")
    expect(visit.page.locator("#others")).to_be_hidden()
    assert len(visit.asked) == 2


@pytest.mark.slow
def test_labels_lie_in_their_tags_on_a_page_from_right_to_left(visit, three):
    visit.show(three)
    expected = canvas(visit)
    visit.page.evaluate("() => { document.documentElement.dir = 'rtl'; }")
    visit.show(three)
    assert np.array_equal(canvas(visit), expected)


@pytest.mark.full
def test_only_the_last_of_many_quick_pictures_is_shown(visit, three, tmp_path):
    held = []

    def hold_the_first(route):
        held.append(route) if not held else route.continue_()

    visit.page.route("**/invocations*", hold_the_first)
    picture(boxes={"blue": BOXES["blue"]}).save(tmp_path / "late.png")
    visit.page.set_input_files("#file", three)
    expect(visit.page.locator("#status")).to_have_text("Looking for leaves in three.png …", timeout=PATIENCE)
    visit.show(tmp_path / "late.png")
    assert names(visit) == ["blue"]
    answer = {"model": "m", "milliseconds": 1, "threshold": 0, "width": 640, "height": 480, "detections": []}
    held[0].fulfill(json=answer)
    visit.page.evaluate("() => new Promise((done) => setTimeout(done))")  # whatever was to come has come
    assert (names(visit), visit.text("#caption")) == (["blue"], "late.png · 640 × 480 px")


@pytest.mark.full
def test_the_last_wins_although_the_pictures_before_take_longer_to_read(visit, three, tmp_path):
    picture(factor=6).save(tmp_path / "large.png")
    picture(boxes={"blue": BOXES["blue"]}).save(tmp_path / "late.png")
    for file in (tmp_path / "large.png", three, tmp_path / "late.png"):
        visit.page.set_input_files("#file", file)
    expect(visit.page.locator("#caption")).to_have_text("late.png · 640 × 480 px", timeout=PATIENCE)
    visit.done()
    visit.page.wait_for_load_state("networkidle")
    assert (names(visit), visit.text("#caption")) == (["blue"], "late.png · 640 × 480 px")


def turned(file: Path, orientation: int) -> Path:
    """Store the picture so that it is upright only when turned as its EXIF orientation says."""
    back = {3: "ROTATE_180", 5: "TRANSPOSE", 6: "ROTATE_90", 8: "ROTATE_270"}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().transpose(Image.Transpose[back]).save(file, exif=exif, quality=95)
    return file


@pytest.mark.parametrize(
    ("ending", "orientation"),
    [
        pytest.param(ending, way, marks=pytest.mark.slow if (ending, way) == ("jpg", 6) else FULL)
        for ending in ("jpg", "png")
        for way in (3, 5, 6, 8)
    ],
)
def test_a_turned_photo_is_upright_with_its_boxes(visit, tmp_path, orientation, ending):
    file = turned(tmp_path / f"turned.{ending}", orientation)
    visit.show(file)
    assert visit.text("#caption") == f"turned.{ending} · 640 × 480 px"
    assert visit.sent() == file.read_bytes()
    assert_boxes(canvas(visit), BOXES, SIZE, within=GRAIN)


@pytest.mark.full
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_webp_has_its_boxes_where_they_are_seen(visit, tmp_path, orientation):
    """Chromium does not turn a WebP; the server does. What is seen counts."""
    visit.show(turned(tmp_path / "turned.webp", orientation))
    width, height = (int(word) for word in visit.text("#caption").split() if word.isdecimal())
    pixels = canvas(visit)
    places = {}
    for name, colour in COLOURS.items():
        rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=-1) < 40)
        box = np.array([columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1])
        places[name] = box * width / pixels.shape[1]
    assert_boxes(pixels, places, (width, height), within=2 * GRAIN)  # the lines cover the edges of the rectangles


@pytest.mark.full
def test_a_photo_that_is_too_large_is_sent_smaller_and_its_boxes_are_right(visit, tmp_path):
    factor = 10
    picture(factor=factor).save(tmp_path / "large.jpg", quality=80)
    visit.show(tmp_path / "large.jpg")
    sent = Image.open(io.BytesIO(visit.sent()))
    assert (sent.size, sent.format) == ((4096, 3072), "JPEG")
    assert visit.text("#caption") == "large.jpg · 6400 × 4800 px"
    assert_boxes(canvas(visit), BOXES, SIZE, within=GRAIN)
    with visit.page.expect_download() as download:
        visit.page.locator("#save-json").click()
    saved = json.loads(Path(download.value.path()).read_text())
    assert (saved["width"], saved["height"]) == (6400, 4800)  # in pixels of the file that was chosen
    for one in saved["detections"]:
        assert one["box"] == pytest.approx([side * factor for side in BOXES[one["class_name"]]], abs=2 * GRAIN * factor)
    with visit.page.expect_download() as download:
        visit.page.locator("#save-picture").click()
    assert Image.open(download.value.path()).size == (4096, 3072)


@pytest.mark.full
@pytest.mark.parametrize("limit", [{"max_bytes": 60_000}, {"max_pixels": 100_000}], ids=["bytes", "pixels"])
def test_a_picture_beyond_what_the_server_takes_is_made_to_fit(chromium, server, tmp_path, limit):
    noise = np.random.Generator(np.random.PCG64(1)).integers(0, 50, (480, 640, 3), np.uint8)
    image = Image.fromarray(np.asarray(picture()) // 2 + noise).resize((1280, 960), Image.Resampling.NEAREST)
    image.save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 60_000
    visit = Visit(chromium.new_page())
    visit.page.route("**/info", lambda route: route.fulfill(json=route.fetch().json() | limit))
    visit.open(server)
    visit.show(tmp_path / "noise.png")
    sent = visit.sent()
    with Image.open(io.BytesIO(sent)) as small:
        assert small.format == "JPEG" and 1000 < small.width * small.height <= limit.get("max_pixels", 1280 * 960)
        assert small.width / small.height == pytest.approx(4 / 3, rel=0.02)
    assert len(sent) <= limit.get("max_bytes", 10**9)
    assert visit.text("#caption") == "noise.png · 1280 × 960 px"
    assert visit.problems == []
    visit.page.close()


@pytest.mark.full
def test_a_format_that_the_server_does_not_take_is_converted(visit, tmp_path):
    picture().save(tmp_path / "old.gif")
    visit.show(tmp_path / "old.gif")
    assert visit.asked[0].headers["content-type"] == "image/jpeg"
    assert_boxes(canvas(visit), BOXES, SIZE, within=GRAIN)


@pytest.mark.slow
def test_what_is_seen_can_be_saved(visit, three):
    visit.show(three)
    visit.move_slider(0.75)
    with visit.page.expect_download() as download:
        visit.page.locator("#save-json").click()
    answer, saved = visit.response(), json.loads(Path(download.value.path()).read_text())
    assert download.value.suggested_filename == "three.json"
    best = [{**one, "box": pytest.approx(one["box"], abs=0.01)} for one in answer["detections"][:2]]
    assert saved == {
        **{"picture": "three.png", "width": 640, "height": 480},
        **{"model": answer["model"], "threshold": 0.75, "detections": best},
    }
    with visit.page.expect_download() as download:
        visit.page.locator("#save-picture").click()
    assert download.value.suggested_filename == "three-leaves.png"
    image = Image.open(download.value.path())
    assert (image.size, image.format) == (SIZE, "PNG")
    pixels = np.asarray(image.convert("RGB"), int)
    assert seen(pixels) == {"red", "green"}
    assert_boxes(pixels, {one["class_name"]: one["box"] for one in answer["detections"][:2]}, SIZE, within=0)


@pytest.mark.full
def test_examples_are_there_to_click(visit):
    buttons = visit.page.locator("#examples button")
    assert buttons.count() == 2
    for button, found in ((buttons.nth(0), ["red"]), (buttons.nth(1), ["red", "green", "blue"])):
        button.click()
        expect(visit.page.locator("tbody tr")).to_have_count(len(found), timeout=PATIENCE)
        assert names(visit) == found
        assert button.get_attribute("aria-current") is not None
    assert visit.page.locator("#examples [aria-current]").count() == 1
    for shown in visit.page.locator("#examples img").all():
        assert shown.evaluate("(image) => image.naturalWidth") > 0


@pytest.mark.full
def test_the_page_says_what_answers(visit, server):
    info = visit.page.request.get(f"{server}/info").json()
    about = visit.text("#about")
    for part in (info["model"], "mAP@50 0.90 (95 % interval 0.85 to 0.95) on 100 test pictures"):
        assert part in about
    assert info["attribution"] in about and info["trace"] in about
    assert visit.text("#note") == f"The pictures it learned from were {info['note']}: it is of no use on real leaves."
    visit.page.locator("summary").click()
    assert "red · green · blue" in visit.text("#about")
    assert "no diagnosis" in visit.text("footer") and "plant doctor" in visit.text("footer")


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 0])
def test_a_server_that_tells_no_limit_gets_the_photo_as_it_is(chromium, server, three, limit):
    visit = Visit(chromium.new_page())
    visit.page.route("**/info", lambda route: route.fulfill(json={"max_pixels": limit, "max_bytes": limit}))
    visit.open(server)
    visit.show(three)
    assert len(names(visit)) == 3 and visit.sent() == three.read_bytes()
    visit.page.close()


@pytest.mark.full
def test_a_server_that_tells_less_is_enough(chromium, server, three):
    visit = Visit(chromium.new_page())
    visit.page.route("**/info", lambda route: route.fulfill(json={"model": "m", "threshold": 0.3725, "scores": None}))
    visit.open(server)
    visit.show(three)
    assert visit.text("#about").split("\n") == ["Model", "m"]
    expect(visit.page.locator("#note")).to_be_hidden()
    assert visit.text("#percent") == "37 %"
    assert len(names(visit)) == 3 and visit.problems == []
    visit.page.close()


@pytest.mark.slow
def test_the_keyboard_is_enough(visit):
    def tab_to(wanted: str) -> None:
        for _ in range(40):
            visit.page.keyboard.press("Tab")
            if visit.page.evaluate("(id) => document.activeElement.matches(id)", wanted):
                outline = visit.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
                assert outline == "solid"  # one sees where one is
                return
        raise AssertionError(f"Tab does not lead to {wanted}")

    tab_to("#choose")
    with visit.page.expect_file_chooser():
        visit.page.keyboard.press("Enter")
    tab_to("#examples li:nth-child(2) button")
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("tbody tr")).to_have_count(3, timeout=PATIENCE)
    tab_to("#threshold")
    for _ in range(21):
        visit.page.keyboard.press("ArrowRight")
    assert (visit.text("#percent"), len(names(visit))) == ("71 %", 2)
    tab_to("tbody tr:nth-child(2) button")
    assert seen(canvas(visit)) == {"green"}  # the other steps back
    tab_to("#save-picture")
    assert seen(canvas(visit)) == {"red", "green"}
    tab_to("#save-json")
    with visit.page.expect_download():
        visit.page.keyboard.press("Enter")


@pytest.mark.full
def test_pointing_at_a_row_or_a_box_points_out_both(visit, three):
    visit.show(three)
    visit.page.locator("tbody tr").nth(2).hover()
    assert seen(canvas(visit)) == {"blue"}
    frame = visit.page.locator("#canvas").bounding_box()
    visit.page.mouse.move(frame["x"] + 440 / 640 * frame["width"], frame["y"] + 300 / 480 * frame["height"])
    assert seen(canvas(visit)) == {"green"}
    assert visit.page.locator("tbody tr.lit").inner_text().split()[1] == "green"
    visit.page.mouse.move(0, 0)
    assert seen(canvas(visit)) == {"red", "green", "blue"}


@pytest.mark.slow
def test_a_small_phone_shows_everything_without_scrolling_sideways(phone, server, tmp_path):
    phone.page.set_viewport_size({"width": 360, "height": 560})  # the least that is left between a browser's bars
    with phone.page.expect_file_chooser():
        phone.page.locator("#take").tap()  # the camera
    assert phone.page.locator("#camera").get_attribute("capture") == "environment"
    boxes = {"red": (40, 80, 560, 120), "blue": (40, 300, 560, 120)}  # wider than their labels are here
    picture(boxes=boxes).save(tmp_path / "two.png")
    phone.show(tmp_path / "two.png")
    assert_boxes(canvas(phone), boxes, SIZE, within=GRAIN)
    assert canvas(phone).shape[1] > 900  # sharp: three pixels for each of the layout's
    expect(phone.page.locator("#canvas")).to_be_in_viewport(ratio=0.99)
    for button in phone.page.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 44  # a thumb's
    for address in ("/", "/docs"):
        if address != "/":
            phone.page.goto(server + address)
        assert phone.page.evaluate("() => document.documentElement.scrollWidth") == 360


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_by_day_and_by_night(chromium, server, three, tmp_path, scheme):
    visit = Visit(chromium.new_page(color_scheme=scheme))
    visit.open(server)
    paper = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (np.mean([int(value) for value in paper[4:-1].split(",")]) < 128) == (scheme == "dark")
    (tmp_path / "notes.txt").write_text("no")

    def check(least: int) -> None:
        rows = browser.contrasts(visit.page)
        assert len(rows) > least
        assert [row for row in rows if row[0] < 4.5] == []  # WCAG AA

    visit.show(tmp_path / "notes.txt")
    check(20)
    visit.show(three)
    visit.page.locator("tbody tr").first.hover()
    check(30)
    visit.page.goto(f"{server}/docs")
    check(40)
    assert visit.problems == []
    visit.page.close()


@pytest.mark.full
def test_labels_never_cover_each_other_nor_leave_the_picture(visit):
    draw = random.Random(7)
    wanted = []
    for _ in range(100):
        x, y = draw.uniform(-20, 600), draw.uniform(-20, 440)
        corners = [x, y, x + draw.uniform(1, 300), y + draw.uniform(1, 300)]
        wanted.append({"corners": corners, "sizes": [[draw.uniform(60, 700), 21], [24, 21]]})
    tags = visit.page.evaluate(
        "async (boxes) => (await import('/page/labels.js')).positionLabels(boxes, 640, 480)", wanted
    )
    placed = [tag for tag in tags if tag]
    assert len(tags) == 100 and len(placed) > 60
    assert {tag["form"] for tag in placed} == {0, 1}
    for i, a in enumerate(placed):
        assert a["x"] >= 0 and a["y"] >= 0 and a["x"] + a["w"] <= 640 and a["y"] + a["h"] <= 480
        for b in placed[:i]:
            apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


@pytest.mark.slow
def test_names_are_text_and_nothing_else(visit, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    picture().save(tmp_path / "<b>bold<i>.png")
    detections = [{"box": [10, 10, 300, 200], "score": 0.9, "class_id": 99, "class_name": evil}]
    answer = {"model": evil, "milliseconds": 5, "threshold": 0.05, "width": 640, "height": 480}
    visit.page.route("**/invocations*", lambda route: route.fulfill(json=answer | {"detections": detections}))
    visit.show(tmp_path / "<b>bold<i>.png")
    assert names(visit) == [evil]
    assert visit.text("#caption").startswith("<b>bold<i>.png")
    assert evil in visit.text("#answered")
    assert visit.page.locator("main b, main img[src=x]").count() == 0


@pytest.mark.full
def test_orientation_is_shown_as_the_browser_shows_it(visit, three):
    """The first answer has width and height the other way round: the page sends what it shows instead."""
    turned = {"model": "m", "milliseconds": 1, "threshold": 0, "width": 480, "height": 640, "detections": []}
    visit.page.route("**/invocations*", lambda route: route.fulfill(json=turned), times=1)
    visit.show(three)
    assert len(visit.asked) == 2
    assert_boxes(canvas(visit), BOXES, SIZE, within=GRAIN)


@pytest.mark.full
def test_the_documentation_is_right(visit, server, tmp_path):
    """Its addresses answer, and its curl lines do what it says."""
    external_programs.program("curl")
    visit.page.goto(f"{server}/docs")
    for link in visit.page.locator("a").all():
        address = link.evaluate("(a) => a.href")
        assert visit.page.request.get(address).ok, address
    described = visit.page.request.get(f"{server}/openapi.json").json()["paths"]["/invocations"]["post"]["responses"]
    table = visit.text("[aria-labelledby=errors]")
    assert {status for status in described if status >= "400"} <= set(re.findall(r"\b[45]\d\d\b", table))
    assert "25 MB" in visit.text("main") and "the model's own threshold (0.5)" in visit.text("main")
    blocks = visit.page.locator("pre").all_inner_texts()
    commands = [text for text in blocks if "curl" in text]
    for name in ("leaf.jpg", "leaf.png", "leaf.webp", "first.jpg", "second.jpg"):
        picture().save(tmp_path / name, quality=95)
    assert len(commands) == 5 and all(f"'{server}/invocations" in command for command in commands)
    for command in commands:
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        for one in answer.get("predictions", [answer]):
            assert [each["class_name"] for each in one["detections"]] == ["red", "green", "blue"], command
    shown = [set(json.loads(text)) for text in blocks if text.startswith("{")]
    single, many = json.loads(subprocess.check_output(["bash", "-c", commands[0]], cwd=tmp_path)), answer
    assert shown == [set(single), set(many), {"error"}]
