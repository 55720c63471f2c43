"""Reads manifests into the models of KServe's SDK, and reports what it took them for.

It runs in an environment of its own, where nothing of Vitrine is installed: `check_kserve.py FILE…`. For each file it
prints the name of the model's class, the manifest, and the manifest as the model writes it: a field that the schema
lacks is missing there.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kserve.models
import kubernetes.client.models
import yaml
from kserve.api_client import ApiClient

CLASSES = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): "V1alpha1ServingRuntime",
    ("serving.kserve.io/v1beta1", "InferenceService"): "V1beta1InferenceService",
}


def read(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest as its model's class has it."""
    name = CLASSES[manifest["apiVersion"], manifest["kind"]]
    client = ApiClient()
    model = client.deserialize(SimpleNamespace(data=json.dumps(manifest)), name)
    return {"class": type(model).__name__, "manifest": manifest, "read": client.sanitize_for_serialization(model)}


def know_kubernetes() -> None:
    """Puts Kubernetes' models among KServe's, whose fields name them and which looks for them there."""
    for name, model in vars(kubernetes.client.models).items():
        vars(kserve.models).setdefault(name, model)


def main(files: Iterable[str]) -> None:
    """Reads, and reports."""
    know_kubernetes()
    print(json.dumps({Path(file).name: read(yaml.safe_load(Path(file).read_text())) for file in files}))


if __name__ == "__main__":
    main(sys.argv[1:])
