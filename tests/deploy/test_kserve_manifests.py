"""The manifests in deploy/kserve, read by the models of KServe's own SDK."""

from pathlib import Path
from typing import Any

import pytest
from support.environments import Environment

from endurance.memory import documented_mib

HERE = Path(__file__).parent
DEPLOY = HERE.parents[1] / "deploy" / "kserve"


@pytest.fixture(scope="module")
def manifests(kserve_environment: Environment) -> Any:
    """What KServe's SDK took the manifests for, by the names of their files."""
    return kserve_environment.run(HERE / "check_kserve.py", *sorted(DEPLOY.glob("*.yaml")))


def lost(manifest: Any, read: Any, path: str = "") -> list[str]:
    """The paths of what the manifest has and its model lacks, or has otherwise; the model may add its defaults."""
    if isinstance(manifest, dict) and isinstance(read, dict):
        return [gone for name, value in manifest.items() for gone in lost(value, read.get(name), f"{path}.{name}")]
    if isinstance(manifest, list) and isinstance(read, list) and len(manifest) == len(read):
        pairs = enumerate(zip(manifest, read, strict=True))
        return [gone for index, pair in pairs for gone in lost(*pair, f"{path}[{index}]")]
    return [] if manifest == read else [path]


@pytest.mark.parametrize(
    ("file", "kind"),
    [("servingruntime.yaml", "V1alpha1ServingRuntime"), ("inferenceservice.yaml", "V1beta1InferenceService")],
)
def test_every_field_is_one_that_kserve_knows(manifests: Any, file: str, kind: str) -> None:
    assert manifests[file]["class"] == kind
    assert lost(manifests[file]["manifest"], manifests[file]["read"]) == []


def test_the_port_is_named_as_kserve_wants_it_for_grpc(manifests: Any) -> None:
    spec = manifests["servingruntime.yaml"]["manifest"]["spec"]
    (container,) = spec["containers"]
    assert container["name"] == "kserve-container"
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == [("h2c", 50051)]
    assert "--port=50051" in container["args"]
    assert spec["protocolVersions"] == ["grpc-v2"]


def test_the_service_wants_the_runtime_that_is_there(manifests: Any) -> None:
    runtime = manifests["servingruntime.yaml"]["manifest"]
    model = manifests["inferenceservice.yaml"]["manifest"]["spec"]["predictor"]["model"]
    formats = [form["name"] for form in runtime["spec"]["supportedModelFormats"]]
    assert (model["runtime"], model["modelFormat"]["name"]) == (runtime["metadata"]["name"], formats[0])
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_the_memory_is_what_a_server_with_the_default_limits_needs(manifests: Any) -> None:
    (container,) = manifests["servingruntime.yaml"]["manifest"]["spec"]["containers"]
    assert not any(argument.startswith("--max-pending-mb") for argument in container["args"])
    assert int(container["resources"]["limits"]["memory"].removesuffix("Mi")) >= documented_mib()
