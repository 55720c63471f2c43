"""Hands on the network: units that are silenced, scaled and set, and each pixel's share of a score."""

import base64
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from page.conftest import Visit
from playwright.sync_api import expect
from support.browser import Visitor, page_server, written_share

from vitrine.model import prepare
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"
Classify = Callable[..., Any]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    with page_server() as addresses:
        yield addresses


@pytest.fixture
def stub(servers: tuple[str, str]) -> Iterator[Any]:
    with grpc.insecure_channel(servers[0]) as channel:
        yield ClassifierServiceStub(channel)


@pytest.fixture
def visitor(servers: tuple[str, str], visit: Visit) -> Visitor:
    """A visitor whose image is the eight."""
    visitor = visit(servers[1])
    visitor.page.locator("#chooser").set_input_files(EIGHT)
    visitor.page.wait_for_url("**/#pixels=*")
    visitor.expect_verdict("8")
    return visitor


def pixels_of(image: Path) -> pb.Tensor:
    pixels = prepare(image)[np.newaxis]
    return pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())


def numbers(tensor: pb.Tensor) -> npt.NDArray[np.float32]:
    return np.frombuffer(tensor.data, "<f4")


def classified(stub: Any, changes: Sequence[pb.Intervention] = ()) -> Any:
    """The server's answer for the eight with some changes."""
    images = [pb.ImageInterventions(interventions=changes)] if changes else []
    every = pb.LayerSelection(all=True)
    return stub.Classify(pb.ClassifyRequest(pixels=pixels_of(EIGHT), activations=every, interventions=images))


def strongest_units(stub: Any, layer: str, count: int) -> list[int]:
    """The units of a layer that are most active for the eight."""
    [values] = [numbers(tensor) for tensor in classified(stub).activations if tensor.name == layer]
    return [int(unit) for unit in np.argsort(values)[::-1][:count]]


def expect_shares(visitor: Visitor, probabilities: npt.NDArray[np.float32]) -> None:
    expect(visitor.page.locator("#classes .share")).to_have_text([written_share(float(p)) for p in probabilities])


def test_silenced_units_change_the_prediction_as_the_server_says(visitor: Visitor, stub: Any) -> None:
    units = strongest_units(stub, "relu_3", 4)
    for count, unit in enumerate(units, 1):
        visitor.choose("relu_3", unit)
        expect(visitor.page.locator("#unit h3").first).to_have_text(f"relu_3 · {unit}")
        visitor.page.get_by_role("button", name="Silence", exact=True).click()
        changed = classified(stub, [pb.Intervention(layer="relu_3", units=units[:count], scale=0)])
        expect_shares(visitor, numbers(changed.probabilities))
        expect(visitor.page.locator("#unit .value")).to_have_text("0")
    expect(visitor.page.locator("#answer-key")).to_have_text("Thin bars: without your changes.")
    untouched = visitor.page.locator("#classes b").evaluate_all("bars => bars.map(bar => bar.style.transform)")
    shown = np.array([float(one.removeprefix("scaleX(").removesuffix(")")) for one in untouched])
    np.testing.assert_allclose(shown, numbers(classified(stub).probabilities), atol=1e-6)
    visitor.page.get_by_role("button", name="Undo all changes").click()
    expect_shares(visitor, numbers(classified(stub).probabilities))
    expect(visitor.page.locator("#changes")).to_be_hidden()


def test_a_unit_can_be_scaled_and_set(visitor: Visitor, stub: Any) -> None:
    [unit] = strongest_units(stub, "relu_2", 1)
    visitor.choose("relu_2", unit)
    visitor.page.get_by_label("Scale").fill("2.5")
    expect_shares(
        visitor, numbers(classified(stub, [pb.Intervention(layer="relu_2", units=[unit], scale=2.5)]).probabilities)
    )
    visitor.page.get_by_label("Set to").fill("-40")
    visitor.page.keyboard.press("Tab")
    changed = classified(stub, [pb.Intervention(layer="relu_2", units=[unit], value=-40)])
    expect_shares(visitor, numbers(changed.probabilities))
    visitor.page.get_by_role("button", name=f"Undo: relu_2 · {unit} = −40.0").click()
    expect_shares(visitor, numbers(classified(stub).probabilities))


def test_the_output_can_only_be_looked_at(visitor: Visitor) -> None:
    visitor.choose("softmax", 8)
    expect(visitor.page.locator("#unit h3").first).to_have_text("8 in softmax")
    expect(visitor.page.locator("#unit .feeders li")).to_have_count(5)
    expect(visitor.page.get_by_role("button", name="Silence", exact=True)).to_have_count(0)


def test_a_link_holds_the_changes(visitor: Visitor, visit: Visit, stub: Any) -> None:
    units = strongest_units(stub, "relu_3", 3)
    for unit in units:
        visitor.choose("relu_3", unit)
        visitor.page.get_by_role("button", name="Silence", exact=True).click()
    visitor.page.wait_for_url(lambda url: url.count("relu_3") == 3)
    other = visit(visitor.address, "#" + visitor.page.url.partition("#")[2])
    expect(other.page.locator("#change-list li")).to_have_count(3)
    expect_shares(
        other, numbers(classified(stub, [pb.Intervention(layer="relu_3", units=units, scale=0)]).probabilities)
    )


def test_what_feeds_a_unit_is_its_weights_times_what_arrives(visitor: Visitor, stub: Any) -> None:
    unit = strongest_units(stub, "relu_2", 1)[0]
    parameters = stub.GetParameters(pb.GetParametersRequest(layer="linear_2"))
    weights = numbers(parameters.weight).reshape(parameters.weight.shape)[unit]
    [values] = [numbers(tensor) for tensor in classified(stub).activations if tensor.name == "relu_1"]
    most = [int(feeder) for feeder in np.argsort(-np.abs(weights * values))[:5]]
    visitor.choose("relu_2", unit)
    expect(visitor.page.locator("#unit .feeders button")).to_have_text([f"relu_1 · {feeder}" for feeder in most])
    total = float(weights @ values + numbers(parameters.bias)[unit])
    expect(visitor.page.locator("#unit .sum")).to_contain_text(f"= {total:.2f}, then relu")


def test_weights_are_fetched_once_for_each_layer(visitor: Visitor) -> None:
    asked: list[Any] = []
    visitor.page.on("request", lambda request: asked.append(request.url) if "GetParameters" in request.url else None)
    for unit in (1, 20, 300):
        visitor.choose("relu_2", unit)
        expect(visitor.page.locator("#unit h3").first).to_have_text(f"relu_2 · {unit}")
        expect(visitor.page.locator("#unit .feeders")).to_be_visible()
    assert len(asked) == 1


def test_each_pixels_share_adds_up_to_the_score(visitor: Visitor, stub: Any) -> None:
    with visitor.page.expect_response("**/Explain") as answered:
        visitor.page.get_by_role("button", name="Show why").click()
    answer = answered.value.json()
    expected = stub.Explain(pb.ExplainRequest(pixels=pixels_of(EIGHT), classes=[8]))
    contributions = np.frombuffer(base64.b64decode(answer["contributions"]["data"]), "<f4")
    np.testing.assert_allclose(contributions, numbers(expected.contributions), atol=1e-4)
    said = f"Orange pixels speak for 8, blue ones against it. All pixels {contributions.sum():.2f} + biases"
    expect(visitor.page.locator("#seen-text")).to_contain_text(said)
    picture = visitor.units("input").evaluate("canvas => canvas.toDataURL()")
    with visitor.page.expect_response("**/Explain") as answered:
        visitor.page.locator("#class").select_option("3")
    assert answered.value.json()["classes"] == [3]
    expect(visitor.page.locator("#seen-text")).to_contain_text("speak for 3")
    assert visitor.units("input").evaluate("canvas => canvas.toDataURL()") != picture
    visitor.page.get_by_role("button", name="Show why").click()
    expect(visitor.page.locator("#seen-text")).to_contain_text("18 × 18 pixels")


def test_what_feeds_an_answer_can_be_silenced_together(visitor: Visitor) -> None:
    visitor.choose("softmax", 8)
    names = visitor.page.locator("#unit .feeders button").all_inner_texts()
    visitor.page.get_by_role("button", name="Silence all of these").click()
    expect(visitor.page.locator("#change-list li")).to_have_text([f"{name} silenced ✕" for name in names])
