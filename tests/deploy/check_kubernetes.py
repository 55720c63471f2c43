"""Checks manifests against Kubernetes' own schemas, and reports them.

It runs in an environment of its own, where nothing of Vitrine is installed: `check_kubernetes.py VERSION FILE…`. For
each file it prints the manifests, and for all of them what is wrong. Kinds that aren't Kubernetes' own aren't checked.
"""

import json
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml


def faults(manifest: dict[str, Any], version: str) -> str:
    """What the schema of a version of Kubernetes finds wrong; empty: nothing."""
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{manifest['kind']}: {error.message} at {'.'.join(map(str, error.path))}"
    except kubernetes_validate.SchemaNotFoundError:
        return "" if ".coreos.com/" in manifest["apiVersion"] else f"no schema for {manifest['kind']}"
    return ""


def main(version: str, *files: str) -> None:
    """Checks, and reports."""
    read = {file: list(yaml.safe_load_all(Path(file).read_text())) for file in files}
    found = [fault for manifests in read.values() for each in manifests if (fault := faults(each, version))]
    print(json.dumps({"manifests": read, "faults": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
