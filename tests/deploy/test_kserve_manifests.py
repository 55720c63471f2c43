"""The manifests in deploy/kserve, read by the models of KServe's own SDK, and the files of deploy/compose."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.environments import Environment

from endurance.memory import documented_mib
from vitrine.server.process.config import ProcessConfig

HERE = Path(__file__).parent
DEPLOY = HERE.parents[1] / "deploy" / "kserve"
COMPOSE = DEPLOY.parent / "compose"


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


@pytest.fixture(scope="module")
def composed(kserve_environment: Environment) -> Any:
    """The files of deploy/compose as plain data, by their paths in it."""
    program = "import json, sys, yaml; print(json.dumps({f: yaml.safe_load(open(f)) for f in sys.argv[1:]}))"
    files = [str(path.relative_to(COMPOSE)) for path in COMPOSE.rglob("*.yaml")]
    assert len(files) == 4
    return json.loads(kserve_environment.says("-c", program, *files, folder=COMPOSE))


def test_every_file_that_is_mounted_is_there(composed: Any) -> None:
    services = composed["compose.yaml"]["services"]
    mounted = [volume for service in services.values() for volume in service.get("volumes", ()) if volume[0] == "."]
    assert len(mounted) == 5
    for volume in mounted:
        assert (COMPOSE / volume.split(":")[0]).is_file(), volume


def test_the_composed_server_has_the_memory_and_the_time_that_it_needs(composed: Any) -> None:
    server = composed["compose.yaml"]["services"]["vitrine"]
    assert int(server["mem_limit"].removesuffix("m")) >= documented_mib()
    assert float(server["stop_grace_period"].removesuffix("s")) > ProcessConfig().stop_seconds
    assert (COMPOSE / server["build"] / "Dockerfile").is_file()


def test_prometheus_scrapes_the_server_and_grafana_reads_prometheus(composed: Any) -> None:
    services, scraped = composed["compose.yaml"]["services"], composed["prometheus.yaml"]
    (target,) = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in services
    assert f"VITRINE_METRICS_PORT={port}" in (DEPLOY.parents[1] / "Dockerfile").read_text()
    rules = [f"/etc/prometheus/{name}" for name in scraped["rule_files"]]
    assert any(volume.split(":")[1] in rules for volume in services["prometheus"]["volumes"])
    (source,) = composed["grafana/datasource.yaml"]["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = composed["grafana/dashboards.yaml"]["providers"]
    assert any(
        volume.split(":")[1].startswith(provider["options"]["path"]) for volume in services["grafana"]["volumes"]
    )


def test_every_published_port_is_this_machines_alone(composed: Any) -> None:
    published = [port for service in composed["compose.yaml"]["services"].values() for port in service["ports"]]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)
