"""The manifests in deploy/kubernetes, against Kubernetes' own schemas and the server's settings."""

import shutil
import subprocess
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from support.environments import Environment

from endurance.memory import documented_mib
from vitrine.model.variables import find_mistyped

HERE = Path(__file__).parent
DEPLOY = HERE.parents[1] / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "cuda", "tls")
VERSIONS = ("1.32", "1.37")
"""The oldest and the newest version of Kubernetes that the manifests are checked for."""

PATCHES = ("kustomization.yaml", "queue.yaml")
"""Files that are no manifests by themselves, beside those in the overlays."""

Manifest: TypeAlias = Mapping[str, Any]

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which puts overlays together")


@pytest.fixture(scope="session")
def kubernetes_environment() -> Environment:
    """Where Kubernetes' schemas are installed."""
    environment = Environment("kubernetes")
    environment.make()
    return environment


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """What kubectl makes of each overlay, and of one with the monitoring beside it."""
    folder = tmp_path_factory.mktemp("built")
    monitored = folder / "overlays" / "monitored"
    shutil.copytree(DEPLOY, folder, dirs_exist_ok=True)
    monitored.mkdir()
    (monitored / "kustomization.yaml").write_text("resources: [../cpu]\ncomponents: [../../monitoring]\n")
    return {name: build(folder / "overlays" / name) for name in (*OVERLAYS, "monitored")}


def build(overlay: Path) -> Path:
    made = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    path = overlay / "built.yaml"
    path.write_text(made.stdout)
    return path


def read(environment: Environment, *files: Path, version: str = VERSIONS[-1]) -> list[Manifest]:
    """The manifests of some files, none of which has a fault."""
    said = environment.run(HERE / "check_kubernetes.py", version, *files)
    assert said["faults"] == []
    return list(chain.from_iterable(said["manifests"].values()))


def only(manifests: list[Manifest], kind: str) -> Any:
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def container_of(manifests: list[Manifest]) -> Any:
    (container,) = only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container


def settings_of(manifests: list[Manifest]) -> dict[str, str]:
    return dict(only(manifests, "ConfigMap")["data"])


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, kubernetes_environment: Environment, built: Mapping[str, Path]) -> Any:
    """The manifests of one overlay after another."""
    return read(kubernetes_environment, built[request.param])


@pytest.mark.parametrize("version", VERSIONS)
def test_each_file_of_the_base_fits_the_schemas(kubernetes_environment: Environment, version: str) -> None:
    files = [path for path in sorted(DEPLOY.glob("*/*.yaml")) if path.name not in PATCHES]
    manifests = read(kubernetes_environment, *files, version=version)
    assert {manifest["kind"] for manifest in manifests} == {
        "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy", "ServiceMonitor",
    }  # fmt: skip


@needs_kubectl
@pytest.mark.parametrize("version", VERSIONS)
def test_each_overlay_fits_the_schemas(
    kubernetes_environment: Environment, built: Mapping[str, Path], version: str
) -> None:
    assert len(read(kubernetes_environment, *built.values(), version=version)) >= 6 * len(built)


@needs_kubectl
def test_the_settings_are_the_servers(overlay: list[Manifest]) -> None:
    settings = settings_of(overlay)
    assert find_mistyped(settings) == []
    stopping = float(settings["VITRINE_PROPAGATION_SECONDS"]) + float(settings["VITRINE_DRAIN_SECONDS"])
    assert stopping < only(overlay, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


@needs_kubectl
def test_the_resources_fit_the_settings(overlay: list[Manifest]) -> None:
    settings, limits = settings_of(overlay), container_of(overlay)["resources"]["limits"]
    needed = int(settings["VITRINE_WORKERS"]) * documented_mib(int(settings["VITRINE_MAX_PENDING_MB"]))
    assert mebibytes(limits["memory"]) >= needed
    assert int(limits["cpu"]) >= int(settings["VITRINE_THREADS"])


def mebibytes(quantity: str) -> int:
    units = {"Mi": 1, "Gi": 1024}
    return int(quantity[:-2]) * units[quantity[-2:]]


@needs_kubectl
def test_every_selector_selects_the_pods(overlay: list[Manifest]) -> None:
    deployment = only(overlay, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        only(overlay, "Service")["spec"]["selector"],
        only(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)


@needs_kubectl
def test_ports_are_named_as_they_are_used(overlay: list[Manifest]) -> None:
    ports = {port["name"]: port["containerPort"] for port in container_of(overlay)["ports"]}
    used = [port["targetPort"] for port in only(overlay, "Service")["spec"]["ports"]]
    used += [port["port"] for rule in only(overlay, "NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]]
    assert ports == {"grpc": 50051, "metrics": 9464}
    assert set(used) == set(ports)


@needs_kubectl
def test_tls_is_probed_without_grpc(kubernetes_environment: Environment, built: Mapping[str, Path]) -> None:
    container = container_of(read(kubernetes_environment, built["tls"]))
    probes = {name: probe for name, probe in container.items() if name.endswith("Probe")}
    assert len(probes) == 3
    assert all("grpc" not in probe for probe in probes.values())


@needs_kubectl
def test_a_secrets_files_are_where_the_settings_look(
    kubernetes_environment: Environment, built: Mapping[str, Path]
) -> None:
    manifests = read(kubernetes_environment, built["tls"])
    mounts = [mount["mountPath"] for mount in container_of(manifests)["volumeMounts"]]
    files = [Path(value) for value in settings_of(manifests).values() if value.startswith("/")]
    assert len(files) == 3
    assert all(str(path.parent) in mounts for path in files)


@needs_kubectl
def test_monitoring_scales_by_the_queue_too(kubernetes_environment: Environment, built: Mapping[str, Path]) -> None:
    manifests = read(kubernetes_environment, built["monitored"])
    metrics = only(manifests, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Resource", "Pods"]
    assert metrics[1]["pods"]["metric"]["name"] == "vitrine_queue_rows"
    labels = only(manifests, "Service")["metadata"]["labels"].items()
    assert only(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= labels
