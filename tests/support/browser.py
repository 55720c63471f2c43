"""A visitor of the page, in a real headless Chromium. It draws, points and types; it knows no test."""

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright
from support.serving import PATIENCE_SECONDS, logged_server, open_log

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
"""The browser that the machine has; None: it has none."""

REQUIRED = bool(os.environ.get("VITRINE_REQUIRE_BROWSER"))
"""Tests of the page fail where there is no browser, rather than being left out."""

MISSING = "no Chromium is installed: on Debian, `apt-get install chromium`"

SIDE = 280
"""The side of the pad's paper in its own units."""

PATIENCE = 1000 * PATIENCE_SECONDS
"""The same in milliseconds, as browsers count."""

BEGUN = """
    document.getElementById("verdict-class").textContent === "–"
        ? document.getElementById("samples").hidden
        : !document.getElementById("steps").hidden || location.hash.includes("pixels=")
"""
"""True, in JavaScript, when the page shows its first answer and the steps that follow it; pixels in a link have none.
A model of other classes than digits begins with nothing."""

FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""A camera that shows a moving test picture, and the permission to use it."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Its sandbox needs a user who isn't root."""
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, *FAKE_CAMERA])
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@contextmanager
def page_server(*arguments: str | Path, host: str = "uvicorn") -> Iterator[tuple[str, str]]:
    """A real server with the page: its address for gRPC, and that of the page."""
    words = ("--frontend", "envoy") if host == "envoy" else ("--frontend", "grpc", "--http-port", "0")
    with open_log() as (pipe, log), logged_server(pipe, *arguments, *words) as server:
        yield server.target, log.wait_for(r"open the page in a browser: (\S+)")[0]


class Visitor:
    """Someone at the page.

    Args:
        page: a tab of the browser.
        address: the page's.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.faults: list[str] = []
        """What the console said, and requests to other hosts."""
        self.under_way = 0
        self.most_under_way = 0
        """Calls of Classify that were under way at once, at most."""
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: self.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._begun)
        page.on("requestfinished", self._ended)

    def _begun(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.address).netloc:
            self.faults.append(f"a request to {request.url}")
        if request.url.endswith("/Classify"):
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)

    def _ended(self, request: Request) -> None:
        self.under_way -= request.url.endswith("/Classify")

    def open(self, fragment: str = "") -> None:
        """Opens the page, and waits until it can be used, and shows all about the image that it begins with."""
        self.page.goto("about:blank")
        self.page.goto(self.address + fragment)
        self.page.wait_for_selector("html[data-ready]")
        self.wait_until(BEGUN)

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Waits at the end until what was drawn or given within has its answer, and the address holds it."""
        self.evaluate(
            """() => {
                window.rested = false;
                document.addEventListener("updated", ({detail}) => (window.rested ||= detail.atRest));
            }"""
        )
        yield
        self.wait_until("window.rested")

    def stroke(self, points: list[tuple[float, float]]) -> None:
        """Draws one stroke with the mouse, on a paper of `SIDE` units, and waits for its answer."""
        with self.answered():
            self._draw(points)

    def _draw(self, points: list[tuple[float, float]]) -> None:
        box = self.page.locator("#pad").bounding_box()
        assert box
        places = [(box["x"] + x * box["width"] / SIDE, box["y"] + y * box["height"] / SIDE) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place)
        self.page.mouse.up()

    def draw_eight(self) -> None:
        """Draws an 8 with the mouse."""
        self.stroke([*circle(140, 85, 40, 90, 450), *circle(140, 180, 52, 270, 630)])

    @property
    def fragment(self) -> str:
        """What the address holds behind `#`, with it; `page.url` may lag behind."""
        return str(self.evaluate("location.hash"))

    @property
    def verdict(self) -> Locator:
        """The class that the page shows."""
        return self.page.locator("#verdict-class")

    def expect_verdict(self, name: str) -> None:
        """Waits until the page shows a class."""
        expect(self.verdict).to_have_text(name)

    def units(self, layer: str) -> Locator:
        """The picture of a layer."""
        return self.page.get_by_role("application", name=f"Units of {layer}", exact=True)

    def choose(self, layer: str, unit: int) -> None:
        """Clicks a unit."""
        grid = self.units(layer)
        grid.scroll_into_view_if_needed()
        columns = int(str(grid.get_attribute("width")))
        box = grid.bounding_box()
        assert box
        cell = box["width"] / columns
        x, y = (unit % columns + 0.5) * cell, (unit // columns + 0.5) * cell
        grid.click(position={"x": x, "y": y})

    def shares(self) -> list[str]:
        """The share of each class, as the page writes it."""
        return self.page.locator("#classes .share").all_inner_texts()

    def wait_until(self, condition: str, argument: Any = None) -> None:
        """Waits until JavaScript about `argument` is true; the page's own policy allows no other way."""
        script = f"""async (argument) => {{
            const end = Date.now() + {PATIENCE};
            while (!({condition})) {{
                if (Date.now() > end) throw new Error("never came true");
                await new Promise(requestAnimationFrame);
            }}
        }}"""
        self.page.evaluate(script, argument)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Runs JavaScript in the page."""
        return self.page.evaluate(script, argument)


def circle(x: float, y: float, radius: float, begin: int, end: int) -> list[tuple[float, float]]:
    """Points of a circle between two angles in degrees."""
    angles = [math.radians(begin + step * (end - begin) / 24) for step in range(25)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def written_share(share: float) -> str:
    """A share as the page writes it."""
    value = 100 * share
    if 0 < value < 0.1:
        return "<0.1 %"
    return ">99.9 %" if 99.9 < value < 100 else f"{value:.1f} %"
