"""The page in a real browser: what is drawn or given is classified, live, and everybody can use it."""

import base64
import io
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page.conftest import Visit
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Request, Response, Route, expect
from support.artifacts import ARROWS_SHAPE, export_random
from support.browser import Visitor, circle, page_server
from support.callers import line, secret

from vitrine.client import Client
from vitrine.model import prepare

EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"
PHONE: dict[str, Any] = {"viewport": {"width": 380, "height": 780}, "has_touch": True, "is_mobile": True}
AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
CLASSIFIED = "**/Classify"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """The bundled model's addresses for gRPC, and of the page."""
    with page_server() as addresses:
        yield addresses


@pytest.fixture(scope="module")
def address(servers: tuple[str, str]) -> str:
    return servers[1]


def test_a_newcomer_sees_an_answer_before_doing_anything(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    expect(visitor.page.locator("#hint")).to_have_text("Now you: draw over it")
    expect(visitor.page.locator("#about")).to_contain_text("says what it is, and shows what each of its 1,906 units")


def test_a_drawn_8_is_an_8_and_all_layers_follow_while_it_is_drawn(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.page.get_by_role("button", name="Take a drawn 1").click()
    visitor.expect_verdict("1")
    before = pictures(visitor)
    visitor.evaluate("window.updates = 0; document.addEventListener('updated', () => window.updates++)")
    box = visitor.page.locator("#pad").bounding_box()
    assert box
    eight = [*circle(140, 85, 40, 90, 450), *circle(140, 180, 52, 270, 630)]
    visitor.page.mouse.move(box["x"] + eight[0][0], box["y"] + eight[0][1])
    visitor.page.mouse.down()
    for x, y in eight:
        visitor.page.mouse.move(box["x"] + x, box["y"] + y)
    visitor.expect_verdict("8")  # the pen is still down
    visitor.page.mouse.up()
    after = pictures(visitor)
    assert len(after) == 9
    assert all(after[layer] != before[layer] for layer in after)
    assert visitor.evaluate("window.updates") > 1
    assert visitor.most_under_way == 1


def pictures(visitor: Visitor) -> dict[str, str]:
    """The picture of each layer, as a data URL by the layer's name."""
    script = """canvases => Object.fromEntries(canvases.filter(one => one.ariaLabel.startsWith("Units of "))
        .map(one => [one.ariaLabel, one.toDataURL()]))"""
    found: dict[str, str] = visitor.page.locator("canvas").evaluate_all(script)
    return found


def test_the_page_says_what_the_sdk_says(servers: tuple[str, str], visit: Visit) -> None:
    target, address = servers
    visitor = visit(address)
    with visitor.page.expect_response(CLASSIFIED) as answered:
        visitor.page.locator("#chooser").set_input_files(EIGHT)
    answer = answered.value.json()
    with Client(target) as client:
        prediction = client.classify(EIGHT)
    shown = np.frombuffer(base64.b64decode(answer["activations"][1]["data"]), "<f4")
    np.testing.assert_array_equal(shown, prediction.activations["linear_1"])
    visitor.expect_verdict(str(prediction.digit))


def drop(visitor: Visitor, kind: str, file: bytes, name: str = "eight.png", content_type: str = "image/png") -> None:
    """Drops or pastes a file, as the browser tells pages of it."""
    visitor.evaluate(
        """([kind, data, name, type]) => {
            const carried = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            carried.items.add(new File([bytes], name, {type}));
            const event = kind === "paste"
                ? new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true})
                : new DragEvent("drop", {dataTransfer: carried, bubbles: true, cancelable: true});
            document.body.dispatchEvent(event);
        }""",
        [kind, base64.b64encode(file).decode(), name, content_type],
    )


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_an_image_can_be_pasted_and_dropped(address: str, visit: Visit, kind: str) -> None:
    visitor = visit(address, "#draw=AAKAIIDf")  # a 1
    visitor.expect_verdict("1")
    drop(visitor, kind, EIGHT.read_bytes())
    visitor.expect_verdict("8")


def test_what_is_no_image_is_refused_in_a_sentence(address: str, visit: Visit) -> None:
    visitor = visit(address)
    drop(visitor, "drop", b"hello", "hello.txt", "text/plain")
    expect(visitor.page.get_by_role("alert")).to_contain_text("This is no image that can be read")
    visitor.page.get_by_role("button", name="Close").click()
    expect(visitor.page.get_by_role("alert")).to_be_hidden()


def test_the_camera_gives_an_image(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.page.get_by_role("button", name="Camera…").click()
    visitor.wait_until("document.getElementById('video').videoWidth > 0")
    with visitor.page.expect_response(CLASSIFIED) as answered:
        visitor.page.get_by_role("button", name="Take the picture").click()
    assert answered.value.status == 200
    expect(visitor.page.locator("#viewfinder")).to_be_hidden()


def test_the_keyboard_alone_is_enough(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    keyboard = visitor.page.keyboard
    tab_to(visitor, "#pad")
    keyboard.press("Space")
    for _ in range(9):
        keyboard.press("Shift+ArrowDown")
    keyboard.press("Space")
    visitor.expect_verdict("1")
    tab_to(visitor, "[aria-label='Take a drawn 3']")
    keyboard.press("Enter")
    visitor.expect_verdict("3")
    tab_to(visitor, "[aria-label='Units of relu_3']")
    for key in ("Home", "ArrowRight", "ArrowDown", "Enter"):
        keyboard.press(key)
    expect(visitor.page.locator("#unit h3").first).to_have_text("relu_3 · 17")
    expect(visitor.page.get_by_role("button", name="Silence", exact=True)).to_be_visible()
    expect(visitor.page.locator("#unit .feeders button").first).to_be_visible()  # its weights have come
    tab_to(visitor, "#unit .feeders button")
    keyboard.press("Enter")
    expect(visitor.page.locator("#unit h3").first).to_contain_text("relu_2 · ")
    keyboard.press("Escape")
    expect(visitor.units("relu_3")).to_be_focused()
    expect(visitor.page.get_by_role("button", name="Silence", exact=True)).to_be_hidden()


def test_a_chosen_unit_is_shown_again_when_the_focus_has_passed_others(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    shown = visitor.page.locator("#unit h3").first
    tab_to(visitor, "[aria-label='Units of relu_3']")
    visitor.page.keyboard.press("Enter")
    expect(shown).to_have_text("relu_3 · 0")
    visitor.units("softmax").focus()
    visitor.page.keyboard.press("Home")
    expect(shown).to_have_text("0 in softmax")
    expect(visitor.page.locator("#unit .feeders button").first).to_be_visible()
    tab_to(visitor, "#unit .feeders button")
    expect(shown).to_have_text("0 in softmax")  # while its panel has the focus
    tab_to(visitor, "#pad")
    expect(shown).to_have_text("relu_3 · 0")


def tab_to(visitor: Visitor, selector: str) -> None:
    """Presses Tab until an element has the focus."""
    for _ in range(80):
        visitor.page.keyboard.press("Tab")
        if visitor.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never comes to {selector}")


def test_a_phone_has_room_for_all_of_it(address: str, visit: Visit) -> None:
    visitor = visit(address, **PHONE)
    visitor.expect_verdict("8")
    assert visitor.evaluate("document.documentElement.scrollWidth") == 380
    relu = visitor.units("relu_1")
    relu.tap(position={"x": 100, "y": 60})
    sheet = visitor.page.locator("#unit")
    expect(sheet).to_be_in_viewport()
    expect(sheet.locator(".feeders")).to_be_visible()
    assert visitor.evaluate("document.documentElement.scrollWidth") == 380
    visitor.page.get_by_role("button", name="Close").click()
    expect(sheet).to_be_hidden()


def test_a_finger_draws(address: str, visit: Visit) -> None:
    visitor = visit(address, **PHONE)
    visitor.expect_verdict("8")
    box = visitor.page.locator("#pad").bounding_box()
    assert box
    touch = visitor.page.context.new_cdp_session(visitor.page)
    places = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + 60 + 20 * step} for step in range(10)]
    for kind, points in (("touchStart", places[:1]), *(("touchMove", [place]) for place in places), ("touchEnd", [])):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    visitor.expect_verdict("1")


def test_dark_is_dark_and_the_model_sees_the_same(address: str, visit: Visit) -> None:
    light, dark = visit(address, color_scheme="light"), visit(address, color_scheme="dark")
    brightness = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0)"
    assert light.evaluate(brightness) > 600
    assert dark.evaluate(brightness) < 150
    for visitor in (light, dark):
        visitor.expect_verdict("8")
    assert light.shares() == dark.shares()
    assert pictures(light) != pictures(dark)
    dark.page.emulate_media(color_scheme="light")
    shown = "document.querySelector('[aria-label=\"Units of relu_1\"]').toDataURL()"
    dark.wait_until(f"{shown} === argument", pictures(light)["Units of relu_1"])


SCENES: dict[str, dict[str, Any]] = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}


@pytest.mark.parametrize("scene", SCENES)
def test_axe_finds_no_violation(address: str, visit: Visit, scene: str) -> None:
    visitor = visit(address, **SCENES[scene])
    visitor.expect_verdict("8")
    violations(visitor)
    visitor.page.locator("#steps").wait_for()
    visitor.choose("relu_2", 5)
    expect(visitor.page.locator("#unit .feeders")).to_be_visible()
    violations(visitor)


def violations(visitor: Visitor) -> None:
    """Fails with what axe finds on the page as it is."""
    if visitor.evaluate("typeof axe") == "undefined":
        visitor.evaluate(AXE)  # by the debugger, since the page itself runs no text
    found = visitor.evaluate("axe.run({resultTypes: ['violations']})")
    assert found["passes"] or found["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []


def test_a_link_holds_the_drawing(address: str, visit: Visit) -> None:
    visitor = visit(address)
    first = visitor.fragment
    visitor.draw_eight()
    visitor.expect_verdict("8")
    assert visitor.fragment != first
    other = visit(address, visitor.fragment)
    other.expect_verdict("8")
    expect(other.page.locator("#classes .share")).to_have_text(visitor.shares())


def test_the_last_bit_of_a_stroke_is_in_the_link_however_soon_the_pen_is_lifted(address: str, visit: Visit) -> None:
    """The answer to an earlier bit is still awaited, and the screen has shown no picture of the last one."""
    visitor = visit(address)
    first = visitor.fragment
    held: list[Route] = []
    visitor.page.route(CLASSIFIED, lambda route: held.append(route), times=1)
    visitor.page.locator("#pad").focus()
    with visitor.page.expect_request(CLASSIFIED):
        visitor.page.keyboard.press("Space")
    visitor.evaluate(
        """async () => {
            for (const key of ["ArrowDown", " "])
                document.getElementById("pad").dispatchEvent(new KeyboardEvent("keydown", {key}));
            for (let pictures = 0; pictures < 2; pictures++) await new Promise(requestAnimationFrame);
        }"""
    )
    [route] = held
    route.continue_()
    visitor.wait_until("location.hash !== argument", first)


def test_a_link_holds_the_pixels_of_an_image(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.page.locator("#chooser").set_input_files(EIGHT)
    visitor.page.wait_for_url("**/#pixels=*")
    other = visit(address, visitor.fragment)
    other.expect_verdict("8")
    expect(other.page.locator("#classes .share")).to_have_text(visitor.shares())


@pytest.mark.parametrize("fragment", ["#draw=%%%", "#draw=A", "#pixels=AAAA", "#model=none@1", "#change=relu_9.1x0~~x"])
def test_a_link_that_was_cut_off_opens_the_page(address: str, visit: Visit, fragment: str) -> None:
    visit(address, fragment)


def test_the_steps_of_the_preparation_end_with_the_models_pixels(address: str, visit: Visit) -> None:
    visitor = visit(address)

    def is_the_files(response: Response) -> bool:  # the drawing that the page begins with is prepared, too
        sent: Any = response.request.post_data_json if response.url.endswith("/Prepare") else {}
        return bool(sent.get("file") == base64.b64encode(EIGHT.read_bytes()).decode())

    with visitor.page.expect_response(is_the_files) as answered:
        visitor.page.locator("#chooser").set_input_files(EIGHT)
    assert base64.b64decode(answered.value.json()["pixels"]["data"]) == prepare(EIGHT).tobytes()
    steps = visitor.page.locator("#step-list li")
    expect(steps.locator("h3")).to_have_text(["Grey", "Ink", "Place", "Stretch"])
    expect(steps.last.locator("canvas")).to_have_attribute("width", "18")


def test_a_second_image_stands_beside_the_first(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    before = pictures(visitor)
    visitor.page.get_by_role("button", name="Compare with a second image").click()
    visitor.page.get_by_role("button", name="Take a drawn 4").click()
    visitor.expect_verdict("4")
    expect(visitor.page.locator("#verdict-sure")).to_contain_text("the first image: 8")
    assert visitor.page.locator(".second:visible").count() == 9
    assert pictures(visitor) != before
    visitor.page.get_by_role("button", name="Stop comparing").click()
    assert visitor.page.locator(".second:visible").count() == 0


def test_clear_forgets_and_undo_takes_a_stroke_back(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    visitor.page.get_by_role("button", name="Clear").click()
    visitor.expect_verdict("–")
    visitor.stroke([(140, 50), (140, 230)])
    visitor.expect_verdict("1")
    visitor.stroke([(60, 50), (140, 50)])
    visitor.page.wait_for_url(lambda url: url.count("=") == 1)
    visitor.page.get_by_role("button", name="Undo").click()
    visitor.expect_verdict("1")


@pytest.mark.parametrize("hidden", [[7], [30, 20, 11, 9, 6, 5]], ids=["1 layer", "6 layers"])
def test_any_model_is_shown_as_it_describes_itself(
    tmp_path: Path, browser: Browser, visit: Visit, hidden: list[int]
) -> None:
    """12 × 20 pixels, two classes that are no digits."""
    artifact = export_random(tmp_path / "pair.onnx", hidden, shape=ARROWS_SHAPE, classes=("left", "right"))
    with page_server(artifact) as (_, address):
        visitor = visit(address)
        expect(visitor.page.locator("#hint")).to_have_text("Draw one of these: left, right")
        assert visitor.page.locator("#samples").is_hidden()
        visitor.stroke([(40, 140), (240, 140)])
        expect(visitor.verdict).to_have_text(re.compile("^(left|right)$"))
        visitor.page.wait_for_url("**/#draw=*")
        assert visitor.page.locator("#layers > li").count() == len(hidden) + 1
        expect(visitor.units("input")).to_have_attribute("width", "20")
        visitor.choose("relu_1", 3)
        expect(visitor.page.locator("#unit canvas").first).to_have_attribute("height", "12")
        violations(visitor)
        visitor.page.close()  # before the server


def test_a_token_is_asked_for_once(tiny_artifact: Path, tmp_path: Path, visit: Visit) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("alice", "predict,activations,parameters"))
    with page_server(tiny_artifact, "--tokens", tokens) as (_, address):
        visitor = visit(address, None)
        visitor.page.goto(address)
        visitor.page.get_by_role("textbox", name="Token").fill("wrong")
        visitor.page.keyboard.press("Enter")
        expect(visitor.page.locator("#token-fault")).to_contain_text("the token is unknown")
        violations(visitor)
        visitor.page.get_by_role("textbox", name="Token").fill(secret("alice"))
        visitor.page.keyboard.press("Enter")
        expect(visitor.verdict).not_to_have_text("–")
        visitor.page.reload()
        expect(visitor.verdict).not_to_have_text("–")
        assert secret("alice") not in visitor.page.url
        assert visitor.evaluate("localStorage.length") == 0
        visitor.page.close()  # before the server
        visitor.faults.clear()  # the console repeats each 401


def test_an_answer_that_may_not_be_had_is_told_so(tiny_artifact: Path, tmp_path: Path, visit: Visit) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("bob", "predict,activations"))
    with page_server(tiny_artifact, "--tokens", tokens) as (_, address):
        visitor = visit(address, None)
        visitor.page.goto(address)
        visitor.page.get_by_role("textbox", name="Token").fill(secret("bob"))
        visitor.page.keyboard.press("Enter")
        expect(visitor.verdict).not_to_have_text("–")
        visitor.choose("relu_1", 3)
        expect(visitor.page.locator("#unit")).to_contain_text("lacks the permission 'parameters'")
        visitor.page.close()  # before the server
        visitor.faults.clear()


@pytest.mark.parametrize("host", ["uvicorn", *(["envoy"] if find_spec("pyvoy") else [])])
def test_every_host_has_the_page(visit: Visit, host: str) -> None:
    with page_server(host=host) as (_, address):
        visitor = visit(address)
        visitor.expect_verdict("8")
        visitor.stroke([(140, 50), (140, 230)])
        visitor.expect_verdict("1")
        expect(visitor.page.locator("#step-list li")).to_have_count(4)
        visitor.page.close()  # before the server


def test_a_server_that_is_gone_is_told_so(tiny_artifact: Path, visit: Visit) -> None:
    with page_server(tiny_artifact) as (_, address):
        visitor = visit(address)
        expect(visitor.verdict).not_to_have_text("–")
    visitor.page.get_by_role("button", name="Take a drawn 4").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("The server doesn't answer")
    visitor.page.close()  # several calls fail, and the console may hear of the last one later
    visitor.faults.clear()


def test_a_large_photo_is_made_smaller_before_it_is_sent(address: str, visit: Visit) -> None:
    image = Image.effect_noise((2600, 2600), 40).convert("RGB")
    ImageDraw.Draw(image).line([(1300, 500), (1300, 2100)], "black", 200)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    assert len(file.getvalue()) > 5 << 20
    visitor = visit(address)
    with visitor.page.expect_request(CLASSIFIED) as asked:
        visitor.page.locator("#chooser").set_input_files(
            {"name": "photo.png", "mimeType": "image/png", "buffer": file.getvalue()}
        )
    sent: Any = asked.value.post_data_json
    assert base64.b64decode(sent["encoded"]["files"][0]).startswith(b"\xff\xd8")
    visitor.expect_verdict("1")


def test_a_refused_image_has_no_answer_and_the_next_one_has(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    drop(visitor, "drop", b"no image", "broken.png", "image/png")
    expect(visitor.page.get_by_role("alert")).to_contain_text("truncated or damaged")
    expect(visitor.page.locator("#verdict-sure")).to_have_text("there is no answer for this image")
    visitor.expect_verdict("–")
    drop(visitor, "drop", EIGHT.read_bytes())
    visitor.expect_verdict("8")
    expect(visitor.page.get_by_role("alert")).to_be_hidden()
    drop(visitor, "drop", b"no image", "broken.png", "image/png")
    expect(visitor.page.get_by_role("alert")).to_be_visible()
    visitor.page.get_by_role("button", name="Clear").click()
    expect(visitor.page.get_by_role("alert")).to_be_hidden()
    expect(visitor.page.locator("#hint")).to_have_text("")
    visitor.faults.clear()  # the console names the calls that were refused


def test_a_link_can_be_opened_where_the_page_is_open(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    visitor.page.goto(address + "#answer")  # the skip link's: a place on the page
    visitor.expect_verdict("8")
    visitor.page.goto(address + "#draw=AAKAIIDf")
    visitor.expect_verdict("1")


def test_a_token_is_taken_without_what_copying_adds(tiny_artifact: Path, tmp_path: Path, visit: Visit) -> None:
    (tmp_path / "tokens").write_text(line("pupil", "predict,activations"))
    with page_server(tiny_artifact, "--tokens", tmp_path / "tokens") as (_, address):
        visitor = visit(address, None)
        visitor.page.goto(address)
        visitor.page.get_by_role("textbox", name="Token").fill(f" “{secret('pupil')}”\u200b")
        visitor.page.get_by_role("button", name="Go on").click()
        expect(visitor.verdict).not_to_have_text("–")
        visitor.page.close()  # before the server
        visitor.faults.clear()


def test_a_token_that_was_not_given_can_be_given_later(tiny_artifact: Path, tmp_path: Path, visit: Visit) -> None:
    (tmp_path / "tokens").write_text(line("pupil", "predict,activations"))
    with page_server(tiny_artifact, "--tokens", tmp_path / "tokens") as (_, address):
        visitor = visit(address, None)
        visitor.page.goto(address)
        dialog = visitor.page.locator("#token")
        for _ in range(2):
            expect(dialog).to_be_visible()
            visitor.page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()
            expect(visitor.page.get_by_role("alert")).to_contain_text("answers callers that have a token only")
            violations(visitor)
            visitor.page.get_by_role("button", name="Enter a token").click()
        visitor.page.get_by_role("textbox", name="Token").fill(secret("pupil"))
        visitor.page.keyboard.press("Enter")
        expect(visitor.verdict).not_to_have_text("–")
        visitor.page.close()  # before the server
        visitor.faults.clear()


LEFT_OUT = {
    "beyond float32": "relu_1.17x1e39",
    "beyond what is taken": "relu_1.17=1000001",
    "the output": "softmax.3x0",
    "no such unit": "relu_3.256x0",
    "no such layer": "relu_9.1x0",
    "no change": "relu_1.5",
}


@pytest.mark.parametrize("fault", LEFT_OUT)
def test_of_a_link_with_a_bad_change_the_rest_is_shown(address: str, visit: Visit, fault: str) -> None:
    bad = LEFT_OUT[fault]
    visitor = visit(address, f"#draw=AAKAIIDf&change=relu_2.3x0~{bad}~relu_2.4x0")
    visitor.expect_verdict("1")
    expect(visitor.page.locator("#change-list li")).to_have_text(["relu_2 · 3 silenced ✕", "relu_2 · 4 silenced ✕"])
    alert = visitor.page.get_by_role("alert")
    expect(alert).to_contain_text(f"The link has changes that can't be made here, and are left out: {bad}")
    visitor.page.get_by_role("button", name="Close").click()
    expect(alert).to_be_hidden()


def test_of_two_images_the_later_is_shown_although_it_is_read_first(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    one = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(one).line([(30, 10), (30, 50)], 0, 8)
    file = io.BytesIO()
    one.save(file, "PNG")
    visitor.evaluate(
        """() => {
            const read = window.createImageBitmap;
            window.createImageBitmap = (blob) => {
                window.createImageBitmap = read;
                return new Promise((done) => (window.goOn = () => done(read(blob))));
            };
        }"""
    )
    sent: list[str] = []
    visitor.page.on("request", lambda request: sent.append(request.post_data or ""))
    drop(visitor, "drop", file.getvalue())
    drop(visitor, "drop", EIGHT.read_bytes())
    visitor.page.wait_for_url("**/#pixels=*")
    visitor.evaluate("window.goOn()")
    visitor.page.get_by_role("button", name="Take a drawn 4").click()
    visitor.expect_verdict("4")
    asked = [data for data in sent if "activations" in data]
    assert any(base64.b64encode(EIGHT.read_bytes()).decode() in data for data in asked)
    assert not any(base64.b64encode(file.getvalue()).decode() in data for data in asked)


def test_the_steps_of_an_image_that_was_cleared_are_not_shown(address: str, visit: Visit) -> None:
    visitor = visit(address)
    held: list[Route] = []
    visitor.page.route("**/Prepare", lambda route: held.append(route), times=1)
    with visitor.page.expect_request("**/Prepare"):
        visitor.page.get_by_role("button", name="Take a drawn 4").click()
    visitor.expect_verdict("4")
    visitor.page.get_by_role("button", name="Clear").click()
    visitor.expect_verdict("–")
    visitor.evaluate(
        """() => {
            const list = document.getElementById("step-list");
            window.shown = 0;
            new MutationObserver(() => (window.shown += list.children.length > 0)).observe(list, {childList: true});
        }"""
    )
    [route] = held
    route.continue_()
    visitor.page.get_by_role("button", name="Take a drawn 3").click()
    visitor.page.locator("#steps").wait_for()
    assert visitor.evaluate("window.shown") == 1


def test_a_large_layers_parameters_come_in_parts(tmp_path: Path, visit: Visit) -> None:
    """Rows of 600 weights: 434 of the 500 fit into an answer of 1 MiB."""
    artifact = export_random(tmp_path / "wide.onnx", [600, 500])
    with page_server(artifact, "--max-message-mb", "1") as (target, address), Client(target) as client:
        visitor = visit(address)
        visitor.page.locator("#chooser").set_input_files(EIGHT)
        visitor.page.wait_for_url("**/#pixels=*")
        asked: list[Request] = []
        visitor.page.on("request", lambda request: asked.append(request) if "GetParameters" in request.url else None)
        before = client.classify(EIGHT, activations=["relu_1"]).activations["relu_1"]
        parameters = client.parameters("linear_2")
        for unit in (3, 499, 433, 434):
            visitor.choose("relu_2", unit)
            total = float(parameters.weight[unit] @ before + parameters.bias[unit])
            expect(visitor.page.locator("#unit .sum")).to_contain_text(f"= {total:.2f}".replace("-", "−"))
        sent: list[Any] = [request.post_data_json for request in asked]
        assert [one["firstRow"] for one in sent] == [0, 434]
        visitor.page.close()  # before the server


def test_pictures_keep_their_order_on_a_page_that_runs_from_right_to_left(address: str, visit: Visit) -> None:
    visitor = visit(address)
    visitor.expect_verdict("8")
    visitor.evaluate("document.documentElement.dir = 'rtl'")
    grid, names = visitor.units("softmax").bounding_box(), visitor.page.locator("#layers .names").last
    boxes = [name.bounding_box() for name in names.locator("span").all()]
    assert grid
    assert len(boxes) == 10
    lefts = [box["x"] for box in boxes if box]
    assert lefts == sorted(lefts)
    assert lefts[0] == pytest.approx(grid["x"], abs=1)
    visitor.choose("relu_3", 5)
    expect(visitor.page.locator("#unit h3").first).to_have_text("relu_3 · 5")
    box, mark = visitor.units("relu_3").bounding_box(), visitor.page.locator(".mark.here:visible").bounding_box()
    assert box
    assert mark
    assert mark["x"] - box["x"] == pytest.approx(5 * mark["width"], abs=3)
    bar, name = visitor.page.locator("#classes .bar").first.bounding_box(), visitor.page.locator("#classes .name").first
    assert bar
    assert (name.bounding_box() or bar)["x"] < bar["x"]
    assert visitor.evaluate("document.documentElement.scrollWidth") == 1240


def test_a_browser_that_keeps_nothing_for_pages_has_the_page(address: str, visit: Visit) -> None:
    visitor = visit(address, None)
    visitor.page.add_init_script(
        'Object.defineProperty(window, "sessionStorage", {get() { throw new DOMException("no", "SecurityError"); }})'
    )
    visitor.page.goto(address)
    visitor.expect_verdict("8")
