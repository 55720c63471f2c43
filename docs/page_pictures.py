"""Takes the pictures of the page in docs/, in headless Chromium. Run by `make pictures`."""

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.harness.servers import running  # noqa: E402 - the checkout's own
from benchmarks.page import BROWSERS, free_port  # noqa: E402

SCENES: dict[str, dict[str, Any]] = {
    "page-light": {"viewport": {"width": 1240, "height": 1010}},
    "page-dark": {"viewport": {"width": 1240, "height": 1010}, "color_scheme": "dark"},
    "page-phone": {"viewport": {"width": 380, "height": 780}, "device_scale_factor": 2, "is_mobile": True},
}
"""The pictures, and the browser's settings for each."""

COLOURS = 128
"""Colours of a picture: few enough that it is small."""


def main() -> None:
    """Takes all pictures."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None) or sys.exit("this needs Chromium")
    port = free_port()
    with running("--http-port", str(port), "--log-level", "error"), sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=browser, args=sandbox)
        for name, settings in SCENES.items():
            take(chromium, f"http://127.0.0.1:{port}/", HERE / f"{name}.png", settings)
        chromium.close()


def take(browser: Browser, address: str, path: Path, settings: dict[str, Any]) -> None:
    """Takes one picture: a 9, each pixel's share in it, and what feeds its score."""
    page = browser.new_page(reduced_motion="reduce", **settings)
    page.goto(address)
    page.locator("#steps").wait_for()
    page.get_by_role("button", name="Take a drawn 9").click()
    page.locator("#verdict-class", has_text="9").wait_for()
    if not settings.get("is_mobile"):
        page.get_by_role("button", name="Show why").click()
        page.get_by_text("Orange pixels speak for 9").wait_for()
        look_at_unit(page)
    page.evaluate("() => { scrollTo(0, 0); document.activeElement.blur(); }")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    page.close()


def look_at_unit(page: Page) -> None:
    """Chooses the unit of the first layer that is most active."""
    page.get_by_role("application", name="Units of softmax").click(position={"x": 250, "y": 10})
    for _ in range(3):
        page.locator("#unit .feeders button").first.click()
        page.locator("#unit .feeders button").first.wait_for()


if __name__ == "__main__":
    main()
