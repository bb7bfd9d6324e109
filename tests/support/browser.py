"""A browser that looks at the page.

    python tests/support/browser.py models/bundle/model.tar.gz data/raw/test/drawn-00064.jpg docs/page.png

writes the picture in the README: the page with a test picture of the sample.
"""

from __future__ import annotations

import base64
import contextlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import external_programs
import running_server
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = [
    "--no-sandbox",  # a container's root may not use it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",  # pixels are compared
]
# Keeps what the page sends; the browser's own record of a large body is not to be had.
RECORD = """
window.bodies = [];
const really = window.fetch;
window.fetch = (address, options) => {
    if (options?.body) window.bodies.push(options.body);
    return really(address, options);
};
"""
CONTRASTS = """() => {
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const parts = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => sum + part * linear(rgb[i] / 255), 0);
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const colour = parts(getComputedStyle(element).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const own = (element) => [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data);
    const found = [];
    for (const element of document.body.querySelectorAll("*")) {
        const text = own(element).join("").trim();
        if (!text || !element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
        const both = [light(parts(getComputedStyle(element).color)), light(ground(element))];
        found.push([(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), text]);
    }
    return found;
}"""
READ = """async (i) => {
    const reader = new FileReader();
    const read = new Promise((done) => { reader.onload = done; });
    reader.readAsDataURL(window.bodies.at(i));
    await read;
    return reader.result;
}"""
PATIENCE = 30_000  # ms; a busy machine may need so long for what is there at once otherwise


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """Chromium without a window, with a profile of its own that is gone afterwards."""
    path = external_programs.program("chromium")  # that of playwright would be another 400 MB
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, headless=True)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """One person at the page.

    `problems` gathers what the console complains of, errors in scripts and broken content policy included; `asked` the
    requests for detections.
    """

    page: Page
    problems: list[str] = field(default_factory=list)
    asked: list = field(default_factory=list)

    def __post_init__(self):
        self.page.set_default_timeout(PATIENCE)
        self.page.add_init_script(RECORD)
        # Choosers are caught from the start: asked for just before a key, that would come too late at times.
        self.page.on("filechooser", lambda _: None)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: "/invocations" in request.url and self.asked.append(request))

    def _heard(self, message) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.text} ({message.location.get('url')})")

    def open(self, address: str) -> None:
        self.page.goto(address)
        expect(self.page.locator("#examples button").first).to_be_visible(timeout=PATIENCE)

    def show(self, *files: Path) -> None:
        """Choose a file, and wait until the page has done with it."""
        self.page.set_input_files("#file", files)
        self.done()

    def done(self) -> None:
        expect(self.page.locator("body:not(.looking)")).to_be_attached(timeout=PATIENCE)

    def sent(self) -> bytes:
        """The last body that the page sent."""
        return base64.b64decode(self.page.evaluate(READ, -1).partition(",")[2])

    def response(self) -> dict:
        """What the server says to the last request: it is asked again, with the same."""
        last = self.asked[-1]
        headers = {"Content-Type": last.headers["content-type"]}
        return self.page.request.post(last.url, data=self.sent(), headers=headers).json()

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def move_slider(self, value: float) -> None:
        self.page.locator("#threshold").fill(str(value))


def contrasts(page: Page) -> list[tuple[float, str]]:
    """Each text that is seen with its contrast (WCAG's, 1 to 21) to what it stands on."""
    return page.evaluate(CONTRASTS)


def main() -> None:
    bundle, picture, out = map(Path, sys.argv[1:])
    with running() as browser, running_server.running(bundle) as server:
        visit = Visit(browser.new_page(viewport={"width": 1100, "height": 900}, device_scale_factor=1))
        visit.open(server.url)
        visit.show(picture)
        taken = visit.page.screenshot(full_page=True, animations="disabled")
    # 256 colours are enough to show it, and a third of the bytes.
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main()
