"""Hands on the network: units that are silenced, scaled and set, and each pixel's share of a score, as the SDK says."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from page.conftest import Visit
from playwright.sync_api import expect
from support.browser import Visitor, page_server, written_share

from vitrine.client import Client, scale, set_units, zero

EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    with page_server() as addresses:
        yield addresses


@pytest.fixture
def client(servers: tuple[str, str]) -> Iterator[Client]:
    with Client(servers[0]) as opened:
        yield opened


@pytest.fixture
def visitor(servers: tuple[str, str], visit: Visit) -> Visitor:
    """A visitor whose image is the eight."""
    visitor = visit(servers[1])
    visitor.page.locator("#chooser").set_input_files(EIGHT)
    visitor.page.wait_for_url("**/#pixels=*")
    visitor.expect_verdict("8")
    return visitor


def strongest_units(client: Client, layer: str, count: int) -> list[int]:
    """The units of a layer that are most active for the eight."""
    values = client.classify(EIGHT).activations[layer]
    return [int(unit) for unit in np.argsort(values)[::-1][:count]]


def expect_shares(visitor: Visitor, probabilities: npt.NDArray[np.float32]) -> None:
    expect(visitor.page.locator("#classes .share")).to_have_text([written_share(float(p)) for p in probabilities])


def test_silenced_units_change_the_prediction_as_the_sdk_says(visitor: Visitor, client: Client) -> None:
    units = strongest_units(client, "relu_3", 4)
    for count, unit in enumerate(units, 1):
        visitor.choose("relu_3", unit)
        expect(visitor.page.locator("#unit h3").first).to_have_text(f"relu_3 · {unit}")
        visitor.page.get_by_role("button", name="Silence", exact=True).click()
        changed = client.classify(EIGHT, interventions=[zero("relu_3", units=units[:count])])
        expect_shares(visitor, changed.probabilities)
        expect(visitor.page.locator("#unit .value")).to_have_text("0")
    expect(visitor.page.locator("#answer-key")).to_have_text("Thin bars: without your changes.")
    untouched_text = f"Untouched: 8, {written_share(float(client.classify(EIGHT).probability))}, score"
    expect(visitor.page.locator("#unit .effect")).to_contain_text(f"Now it says {changed.label}, ")
    expect(visitor.page.locator("#unit .effect")).to_contain_text(untouched_text)
    expect(visitor.page.locator("#unit .sum")).to_contain_text("then relu, then silenced")
    bars = visitor.page.locator("#classes b").evaluate_all("bars => bars.map(bar => bar.style.transform)")
    shown = np.array([float(bar.removeprefix("scaleX(").removesuffix(")")) for bar in bars])
    untouched = client.classify(EIGHT).probabilities
    np.testing.assert_allclose(shown, untouched, atol=1e-6)
    visitor.page.get_by_role("button", name="Undo all changes").click()
    expect_shares(visitor, untouched)
    expect(visitor.page.locator("#changes")).to_be_hidden()


def test_a_unit_can_be_scaled_and_set(visitor: Visitor, client: Client) -> None:
    [unit] = strongest_units(client, "relu_2", 1)
    visitor.choose("relu_2", unit)
    visitor.page.get_by_label("Scale").fill("2.5")
    expect_shares(visitor, client.classify(EIGHT, interventions=[scale("relu_2", 2.5, units=[unit])]).probabilities)
    visitor.page.get_by_label("Set to").fill("-40")
    visitor.page.keyboard.press("Tab")
    expect_shares(visitor, client.classify(EIGHT, interventions=[set_units("relu_2", {unit: -40})]).probabilities)
    visitor.page.get_by_role("button", name=f"Undo: relu_2 · {unit} = −40.0").click()
    expect_shares(visitor, client.classify(EIGHT).probabilities)


def test_a_chosen_unit_stays_while_the_mouse_moves_within_it(visitor: Visitor, client: Client) -> None:
    visitor.choose("relu_3", strongest_units(client, "relu_3", 1)[0])
    silence = visitor.page.get_by_role("button", name="Silence", exact=True)
    kept = silence.element_handle()
    box = visitor.page.locator(".mark.here:visible").bounding_box()
    assert box is not None
    for share in (0.3, 0.5, 0.7):
        visitor.page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
    assert kept is not None
    assert kept.evaluate("element => element.isConnected")
    expect(silence).to_be_visible()


def test_the_pictures_of_a_unit_follow_dark_and_light(visitor: Visitor, client: Client) -> None:
    visitor.choose("relu_3", strongest_units(client, "relu_3", 1)[0])
    canvases = visitor.page.locator("#unit canvas")
    expect(canvases).to_have_count(2)
    light = canvases.evaluate_all("canvases => canvases.map(canvas => canvas.toDataURL())")
    visitor.page.emulate_media(color_scheme="dark")
    drawn_anew = "[...document.querySelectorAll('#unit canvas')].every((one, at) => one.toDataURL() !== argument[at])"
    visitor.wait_until(drawn_anew, light)


def test_the_output_can_only_be_looked_at(visitor: Visitor) -> None:
    visitor.choose("softmax", 8)
    expect(visitor.page.locator("#unit h3").first).to_have_text("8 in softmax")
    expect(visitor.page.locator("#unit .feeders li")).to_have_count(5)
    expect(visitor.page.get_by_role("button", name="Silence", exact=True)).to_have_count(0)


def test_a_link_holds_the_changes(visitor: Visitor, visit: Visit, client: Client) -> None:
    units = strongest_units(client, "relu_3", 3)
    for unit in units:
        visitor.choose("relu_3", unit)
        visitor.page.get_by_role("button", name="Silence", exact=True).click()
    visitor.page.wait_for_url(lambda url: url.count("relu_3") == 3)
    other = visit(visitor.address, visitor.fragment)
    expect(other.page.locator("#change-list li")).to_have_count(3)
    expect_shares(other, client.classify(EIGHT, interventions=[zero("relu_3", units=units)]).probabilities)


def test_what_feeds_a_unit_is_its_weights_times_what_arrives(visitor: Visitor, client: Client) -> None:
    [unit] = strongest_units(client, "relu_2", 1)
    parameters = client.parameters("linear_2")
    products = parameters.weight[unit] * client.classify(EIGHT).activations["relu_1"]
    most = [int(feeder) for feeder in np.argsort(-np.abs(products))[:5]]
    visitor.choose("relu_2", unit)
    expect(visitor.page.locator("#unit .feeders button")).to_have_text([f"relu_1 · {feeder}" for feeder in most])
    total = float(products.sum() + parameters.bias[unit])
    expect(visitor.page.locator("#unit .sum")).to_contain_text(f"= {total:.2f}, then relu")


def test_what_feeds_an_answer_can_be_silenced_together(visitor: Visitor) -> None:
    visitor.choose("softmax", 8)
    expect(visitor.page.locator("#unit .feeders button")).to_have_count(5)
    names = visitor.page.locator("#unit .feeders button").all_inner_texts()
    visitor.page.get_by_role("button", name="Silence all of these").click()
    expect(visitor.page.locator("#change-list li")).to_have_text([f"{name} silenced ✕" for name in names])


def test_weights_are_fetched_once_for_each_layer(visitor: Visitor) -> None:
    asked: list[Any] = []
    visitor.page.on("request", lambda request: asked.append(request.url) if "GetParameters" in request.url else None)
    for unit in (1, 20, 300):
        visitor.choose("relu_2", unit)
        expect(visitor.page.locator("#unit h3").first).to_have_text(f"relu_2 · {unit}")
        expect(visitor.page.locator("#unit .feeders")).to_be_visible()
    assert len(asked) == 1


def test_each_pixels_share_adds_up_to_the_score(visitor: Visitor, client: Client) -> None:
    with visitor.page.expect_response("**/Explain") as answered:
        visitor.page.get_by_role("button", name="Show why").click()
    expected = client.explain(EIGHT)
    shares = np.frombuffer(base64.b64decode(answered.value.json()["contributions"]["data"]), "<f4")
    np.testing.assert_allclose(shares.reshape(18, 18), expected.contributions, atol=1e-4)
    said = f"Orange pixels speak for 8, blue ones against it. All pixels {expected.score - expected.bias:.2f} + biases"
    expect(visitor.page.locator("#seen-text")).to_contain_text(said)
    picture = visitor.units("input").evaluate("canvas => canvas.toDataURL()")
    with visitor.page.expect_response("**/Explain") as answered:
        visitor.page.locator("#class").select_option("3")
    assert answered.value.json()["classes"] == [3]
    expect(visitor.page.locator("#seen-text")).to_contain_text("speak for 3")
    assert visitor.units("input").evaluate("canvas => canvas.toDataURL()") != picture
    visitor.page.get_by_role("button", name="Show why").click()
    expect(visitor.page.locator("#seen-text")).to_contain_text("18 × 18 pixels")
