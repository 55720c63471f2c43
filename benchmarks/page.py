"""Speed of the page in headless Chromium: from the end of a stroke to the updated page, and updates while drawing.

    python -m benchmarks.page [--strokes 60] [--seconds 5] [--json]

The real page of a real server on this machine draws strokes with the mouse. Times are taken in the page: from the
event that lifts the pen until the picture with the answer has been drawn, which is the second frame after the page has
changed. While drawing, the pen moves with each frame, and updates are counted.
"""

import json
import os
import shutil
import socket
import sys
from dataclasses import asdict
from typing import Any

import click
from playwright.sync_api import Page, sync_playwright

from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.servers import running
from benchmarks.harness.summary import Summary

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

STROKE_TIME = """() => new Promise((done) => {
    let begin = 0;
    document.addEventListener("pointerup", () => (begin = performance.now()), {capture: true, once: true});
    document.addEventListener("updated", function updated(event) {
        if (!begin || !event.detail.atRest) return;
        document.removeEventListener("updated", updated);
        const changed = performance.now() - begin;
        requestAnimationFrame(() => requestAnimationFrame(() => done([changed, performance.now() - begin])));
    });
})"""
"""Gives the milliseconds from the next end of a stroke until the page has changed, and until that was drawn."""

DRAW = """(seconds) => new Promise((done) => {
    const pad = document.getElementById("pad"), box = pad.getBoundingClientRect(), begin = performance.now();
    let updates = 0, frames = 0;
    document.addEventListener("updated", () => updates++);
    (function move() {
        const at = frames++ / 40, past = (performance.now() - begin) / 1000;
        const clientX = box.left + 140 + 60 * Math.sin(2 * at), clientY = box.top + 140 - 100 * Math.cos(at);
        pad.dispatchEvent(new PointerEvent("pointermove", {clientX, clientY, pointerId: 1, bubbles: true}));
        if (past < seconds) requestAnimationFrame(move);
        else done([updates / past, frames / past]);
    })();
})"""
"""Moves the pen with each frame while it is down; gives updates and frames a second."""


@click.command()
@click.option("--strokes", default=60, show_default=True, help="Strokes whose end is timed, after 10 to warm up.")
@click.option("--seconds", default=5.0, show_default=True, help="Seconds of drawing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(strokes: int, seconds: float, as_json: bool) -> None:
    """Measure the page, and print it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None) or sys.exit("this needs Chromium")
    port = free_port()
    with running("--http-port", str(port), "--log-level", "error"), sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=browser, args=sandbox)
        page = chromium.new_page(reduced_motion="reduce", viewport={"width": 1240, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#steps:not([hidden])")
        times = [time_of_stroke(page, index) for index in range(strokes + 10)][10:]
        updates, frames = rate_while_drawing(page, seconds)
        name = chromium.version
        chromium.close()
    changed, drawn = (Summary.of(values) for values in zip(*times, strict=True))
    if as_json:
        found = {"changed_ms": asdict(changed), "drawn_ms": asdict(drawn), "updates": updates, "frames": frames}
        print(json.dumps({**found, "chromium": name, **machine("uvicorn", "playwright")}))
        return
    print(f"Chromium {name}, {machine_line('uvicorn', 'playwright')}")
    print(f"pen lifted to page changed: {changed.text(1)} ms")
    print(f"pen lifted to page drawn:   {drawn.text(1)} ms")
    print(f"while drawing: {updates:.1f} updates a second, of {frames:.1f} frames")


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def time_of_stroke(page: Page, index: int) -> tuple[float, float]:
    """Draws a stroke; the milliseconds from its end until the page has changed, and until that was drawn."""
    left, top = corner(page)
    page.locator("#clear").click()
    page.mouse.move(left + 90 + index % 50, top + 60)
    page.mouse.down()
    page.mouse.move(left + 140, top + 220, steps=8)
    timed: Any = page.evaluate_handle(f"() => ({{ends: ({STROKE_TIME})()}})")
    page.mouse.up()
    changed, drawn = timed.evaluate("timed => timed.ends")
    return float(changed), float(drawn)


def rate_while_drawing(page: Page, seconds: float) -> tuple[float, float]:
    """Updates and frames a second while a stroke is drawn."""
    left, top = corner(page)
    page.mouse.move(left + 140, top + 40)
    page.mouse.down()
    updates, frames = page.evaluate(DRAW, seconds)
    page.mouse.up()
    return float(updates), float(frames)


def corner(page: Page) -> tuple[float, float]:
    """The pad's left and top."""
    box = page.locator("#pad").bounding_box()
    assert box
    return box["x"], box["y"]


if __name__ == "__main__":
    main()
