"""What docs/open-inference-protocol.md says is so."""

import re
from pathlib import Path

from support.environments import Environment
from support.serving import running_server

from vitrine.oip import inference_pb2 as pb

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "open-inference-protocol.md").read_text()


def test_the_example_runs_as_it_stands(triton_environment: Environment) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    (promised,) = re.findall(r"print\(.*  # (.*)\n", example)
    with running_server() as server:  # the bundled model, as `make serve` has it
        program = example.replace("localhost:50051", server.target)
        assert triton_environment.says("-c", program, folder=ROOT).strip() == promised


def test_every_call_is_in_the_table() -> None:
    (table,) = re.findall(r"## Calls\n(.*?)\n##", DOCS, re.DOTALL)
    named = re.findall(
        r"`(\w+)(…?)`", "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    )
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name:
        assert any(method.startswith(name) if more else method == name for name, more in named), method


def test_every_field_of_a_request_and_an_answer_is_in_a_table() -> None:
    for message, heading in ((pb.ModelInferRequest, "A request"), (pb.ModelInferResponse, "An answer")):
        (section,) = re.findall(rf"## {heading}\n(.*?)\n##", DOCS, re.DOTALL)
        for field in message.DESCRIPTOR.fields_by_name:
            assert re.search(rf"^\|.*`{field}`", section, re.MULTILINE), field
