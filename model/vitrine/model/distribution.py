"""Vitrine as an installed distribution: its name on package indexes, its version and its extras.

It knows which modules an extra brings, and imports none of them.
"""

import importlib.util

DISTRIBUTION = "vitrine-serving"
"""The name to install; on PyPI, `vitrine` is another project. The import name is `vitrine`."""

EXTRAS = {
    "bulk": ("pyarrow", "tqdm"),
    "capture": ("pyarrow",),
    "server": ("grpc_reflection", "grpc_status", "onnx", "onnxruntime", "prometheus_client", "pythonjsonlogger"),
    "envoy": ("pyvoy",),
    "http": ("uvicorn",),
    "train": ("matplotlib", "onnx", "onnxruntime", "sklearn", "torch", "tqdm"),
}
"""The top-level modules of the extras that a command can't start without, as pyproject.toml has them."""


def version() -> str:
    """The version of the installed distribution, such as 0.1.0."""
    from importlib.metadata import version  # which takes long to import, and few commands need

    return version(DISTRIBUTION)


def install_command(extra: str) -> str:
    """The shell command that installs Vitrine with an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def missing_extra(command: str, extra: str) -> str | None:
    """The error text for a command whose extra isn't installed, or None if all of its modules are there.

    Modules are looked up by name and not imported: a module that is installed and broken counts as there, so that
    its own ImportError is seen.

    Args:
        command: the command that needs the extra.
        extra: a key of `EXTRAS`.
    """
    missing = [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    return f"{command} needs the extra `{extra}` (not found: {', '.join(missing)}): {install_command(extra)}"


def require_extra(name: str, extra: str) -> None:
    """The same for what programs import by a name, such as `vitrine.bulk.score`.

    Raises:
        ImportError: the extra isn't installed.
    """
    if error := missing_extra(name, extra):
        raise ImportError(error)
