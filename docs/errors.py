"""Writes errors.md from the code: every reason that a server sends, its status, and whether to send the call again.

Reasons and error classes are read from the source, statuses from the server's own tables. This module adds what a
reason means. A reason in the code without a meaning here ends it, and so does a meaning without a reason.
"""

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vitrine.client.errors import ERROR_OF_STATUS
from vitrine.server import errors
from vitrine.server.errors import RequestError
from vitrine.server.inference.call import OUTCOMES, Outcome
from vitrine.server.protocols.oip import errors as oip

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "errors.md"
SOURCES = (ROOT / "server" / "vitrine", ROOT / "model" / "vitrine")
REASON = re.compile(r"[A-Z]+(_[A-Z]+)*")

CLASSES: dict[str, Outcome] = {kind.__name__: outcome for kind, outcome in OUTCOMES.items()} | {
    "ImageError": Outcome.INVALID_ARGUMENT  # the service makes an InvalidRequest of it, with the same reason
}
"""The outcome of a call by the name of its error's class."""

FIXED = {"INTERNAL": Outcome.INTERNAL} | dict.fromkeys(oip.REASONS, Outcome.UNIMPLEMENTED)
"""The reasons that stand in tables of the server."""

MEANINGS: dict[str, str] = {
    "ANSWER_TOO_LARGE": "The answer would pass `--max-message-mb`, or no row fits into the request's `max_bytes`: send "
    "fewer images, ask for fewer layers, or raise `max_bytes`.",
    "ATTRIBUTION_UNKNOWN": "`ExplainRequest.method` has a number that `AttributionMethod` lacks.",
    "CLASS_UNKNOWN": "The model has no class at that position: `Model.classes` has them.",
    "COMPRESSION_UNKNOWN": "The request has a compression that the server doesn't read: use gzip, deflate or none.",
    "CONTRADICTION": "Two fields contradict each other, such as all layers and some by name: set one of them.",
    "HEADERS_TOO_LARGE": "The call's headers pass 16 KiB: send fewer or shorter ones.",
    "HOST_UNKNOWN": "A browser calls a local server by a name that others may own: use `localhost`, let the "
    "proxy send `Host: localhost`, or start the server with `--tokens`.",
    "ID_TOO_LONG": "The request's `id` is too long: shorten it.",
    "IMAGE_NOT_FOUND": "There is no image file at that path. The SDK raises it; a server gets no paths.",
    "IMAGE_TOO_LARGE": "The image has more pixels, or takes more memory to decode, than is allowed: scale it down.",
    "IMAGE_UNREADABLE": "The bytes are no whole image file: send the file's bytes as they are.",
    "IMAGE_UNSUPPORTED": "The image's format, shape or values aren't read; the text says what to convert it to.",
    "INPUT_TWICE": "An optional input stands there twice: send it once.",
    "INTERNAL": "The server failed. Its log has the cause under the request's id, which the error carries.",
    "JSON_TOO_LARGE": "The request in JSON is too large to be read: send protobuf.",
    "LAYER_IS_OUTPUT": "No layer reads the output layer, so changing it changes nothing: change the layer before it.",
    "LAYER_STORES_NOTHING": "The layer has no parameters: ask for a linear one.",
    "LAYER_UNKNOWN": "The model has no layer of that name: `GetModel` lists them.",
    "LEAVING": "The server stops. Another one, or this one after its restart, takes the call.",
    "LOAD_FAILED": "The model's newest version can't be loaded; the text has the reason.",
    "MALFORMED_TIMEOUT": "The timeout's header holds no time.",
    "METHOD_UNKNOWN": "There is no method at that path.",
    "MODEL_UNKNOWN": "No model of that name is served: `ListModels` lists them.",
    "NOT_A_MESSAGE": "The bytes are no message of the method: check the `.proto` file and the compression.",
    "NOT_ONE_MESSAGE": "The method takes one message, and the body has none or several.",
    "NO_CHANGE": "An intervention says no change: set its scale, its value or its values.",
    "NO_CONTENTS": "The input has neither `contents` nor `raw_input_contents`.",
    "NO_IMAGES": "The request has no images: send at least one.",
    "NO_INTERVENTIONS": "The model can't be run with interventions.",
    "NO_LOG_SETTINGS": "The log is set up where the server starts (`--log-level`).",
    "NO_MESSAGE": "The call ended without a message.",
    "NO_OVERRIDES": "A model is what lies in the repository: it can't be loaded with other settings or files.",
    "NO_REPOSITORY": "The server serves one file, and has no repository to load from.",
    "NO_REPOSITORY_NAMES": "There is one repository, without a name: leave `repository_name` out.",
    "NO_SHARED_MEMORY": "Shared memory isn't supported: send tensors in messages.",
    "NO_TRACE_SETTINGS": "Traces are set up where the server starts (`--otlp-endpoint`).",
    "NO_UNLOADING": "The repository decides what is served: move the model's folder out of it.",
    "OUT_OF_RANGE": "Numbers are outside the range that the text names. Pixels in FP32: white is 0, black is 255.",
    "OVERLOADED": "Too many images or bytes are pending (`--max-pending-images`, `--max-pending-mb`).",
    "PERMISSION_LACKING": "The token lacks a permission, which the text names. Without `activations`, ask for none.",
    "RATE_EXCEEDED": "The caller has sent more images a second than `--caller-rate`.",
    "RAW_AND_TYPED": "The input stands in `contents` and in `raw_input_contents`: use one.",
    "REQUEST_TOO_LARGE": "The request passes its method's limit: `--max-message-mb` for images. Split it.",
    "REQUEST_TOO_SLOW": "The request took longer than `--transfer-seconds` to arrive.",
    "SERVICE_UNKNOWN": "The health service knows no service of that name.",
    "SHARE_EXCEEDED": "The caller holds its share of what may be pending, so that others find room.",
    "TOKEN_MALFORMED": "The header `authorization` isn't `Bearer TOKEN`.",
    "TOKEN_MISSING": "The server takes calls with a token only.",
    "TOKEN_UNKNOWN": "No caller has this token, or it was withdrawn.",
    "TOO_MANY_FIELDS": "The request has far more fields than its images need: split it.",
    "TOO_MANY_IMAGES": "The request has more images than `Limits.max_images`: split it.",
    "TOO_MANY_INTERVENTIONS": "The request has more than 1,024 interventions: split it.",
    "TOO_MANY_NAMES": "Layers are named more often than the model has layers: name each once.",
    "TOO_MANY_STREAMS": "The caller, or all callers together, have too many open streams: close some.",
    "TOO_MUCH_ARRIVING": "Requests that are arriving take too much memory.",
    "UNIT_UNKNOWN": "The layer has no unit at that position: `Layer.width` has their number.",
    "UNKNOWN_INPUT": "The model has no input of that name: it has `pixels`.",
    "UNKNOWN_OUTPUT": "The model has no output of that name: `ModelConfig` names all layers.",
    "UNKNOWN_PARAMETER": "The request has a parameter that the server doesn't know.",
    "VERSION_UNKNOWN": "That version of the model isn't served: `ListModels` lists them.",
    "WRONG_BYTE_COUNT": "The bytes don't fit the shape.",
    "WRONG_CLASS_COUNT": "Classes are neither one for all images nor one for each.",
    "WRONG_CONTENTS": "The values stand in another field than the one of their type.",
    "WRONG_DTYPE": "Pixels are of another type than the ones taken.",
    "WRONG_ELEMENT_COUNT": "The elements don't fit the shape.",
    "WRONG_INPUT_COUNT": "The request has several inputs, or none: a model has one.",
    "WRONG_INTERVENTION_COUNT": "Interventions are neither one entry for all images nor one for each.",
    "WRONG_PARAMETER": "A parameter has a value of the wrong type or outside its range.",
    "WRONG_RAW_COUNT": "`raw_input_contents` has another number of entries than there are inputs.",
    "WRONG_SHAPE": "The pixels have another shape than the model's: `Model.input` has it.",
    "WRONG_VALUE_COUNT": "There isn't one value for each unit.",
}
"""What is wrong, and what to do, by reason."""

AGAIN = {
    "INTERNAL": "perhaps once",
    "LEAVING": "yes, elsewhere",
    "REQUEST_TOO_SLOW": "yes",
}
"""Whether to send the call again, for the reasons that no class decides."""

HEAD = """# Errors

For those who write programs that call the server: every error, and whether to send the call again. A call that fails
has three parts: a status code, a sentence for people that says what to do, and `google.rpc` details.

- `ErrorInfo` has a **reason** in UPPER_SNAKE and the domain `vitrine`. Programs compare reasons, never texts.
- `BadRequest` has the path of the field at fault, such as `files[3]`, if there is one.
- `RetryInfo` has the seconds after which to send the same call again, where that helps.

The SDK raises one class for each status, all under `VitrineError`, with `code`, `reason`, `field`, `retry_after` and
`request_id`. Over Connect the details are in the error's JSON. `x-request-id` names the request in the server's log.

## Statuses

| status | class in the SDK | send it again? |
| --- | --- | --- |
"""

MIDDLE = """
## Reasons

| reason | status | send it again? | what is wrong, and what to do |
| --- | --- | --- | --- |
"""

END = """
An error without a reason comes from gRPC itself or from a proxy: no server answered, a deadline passed on the way, or a
message was larger than the client takes. The SDK's text says what to check.

(`python -m docs.errors` writes this page from the code.)
"""

STATUSES = {
    Outcome.INVALID_ARGUMENT: "no: change the request",
    Outcome.NOT_FOUND: "no: ask for something that is served",
    Outcome.UNAUTHENTICATED: "no: send a valid token",
    Outcome.PERMISSION_DENIED: "no: get the permission, or ask for less",
    Outcome.UNIMPLEMENTED: "no: this server doesn't do it",
    Outcome.RESOURCE_EXHAUSTED: "with `retry_after`: after that many seconds; without: ask for less",
    Outcome.DEADLINE_EXCEEDED: "yes, with a longer deadline or less to do",
    Outcome.UNAVAILABLE: "yes, later: by default, the SDK has sent it up to five times already",
    Outcome.CANCELLED: "as the caller likes: it cancelled the call, or the server ended before it took it up",
    Outcome.INTERNAL: "perhaps once",
}
"""Whether to send a call again, by its status."""


def page() -> str:
    """The whole page."""
    found = dict(sorted(reasons().items()))
    if missing := found.keys() ^ MEANINGS.keys():
        sys.exit(
            f"docs/errors.py has no meaning for these reasons, or no code sends them: {', '.join(sorted(missing))}"
        )
    rows = [
        f"| `{reason}` | {_statuses(reason, kinds)} | {_again(reason, kinds)} | {MEANINGS[reason]} |\n"
        for reason, kinds in found.items()
    ]
    return "".join([HEAD, *map(_status_row, STATUSES), MIDDLE, *rows, END])


def reasons() -> dict[str, set[str]]:
    """The names of the errors' classes that carry each reason, by reason; none for those of `FIXED`."""
    trees = [ast.parse(file.read_text()) for folder in SOURCES for file in sorted(folder.rglob("*.py"))]
    makers = {name: name for name in CLASSES} | {name: kind for tree in trees for name, kind in _makers(tree)}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for call in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if call.args and (kind := makers.get(_name_of(call.func))):
            for reason in _reasons_in(call.args[0]):
                found[reason].add(kind)
    return {reason: set() for reason in FIXED} | found


def _makers(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The functions of a module that return an error, with its class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id in CLASSES:
            yield node.name, node.returns.id


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _reasons_in(argument: ast.expr) -> Iterator[str]:
    for node in ast.walk(argument):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and REASON.fullmatch(node.value):
            yield node.value


def _status_row(outcome: Outcome) -> str:
    (kind,) = (kind for code, kind in ERROR_OF_STATUS.items() if code.name == outcome)
    return f"| {outcome} | `{kind.__name__}` | {STATUSES[outcome]} |\n"


def _statuses(reason: str, kinds: set[str]) -> str:
    return ", ".join(sorted({CLASSES[kind] for kind in kinds} or {FIXED[reason]}))


def _again(reason: str, kinds: set[str]) -> str:
    if kinds and all(issubclass(getattr(errors, kind, RequestError), errors.Overloaded) for kind in kinds):
        return "after `retry_after`"
    return AGAIN.get(reason, "no")


def main() -> None:
    """Writes the page, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is out of date")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        sys.exit("docs/errors.md is out of date: run python -m docs.errors")


if __name__ == "__main__":
    main()
