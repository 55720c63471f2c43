"""The public names of `vitrine.training`: a change here is a change for its users."""

import inspect

import vitrine.training
from vitrine.model import VitrineError

OFFERED = [
    "MLP",
    "RECIPES",
    "Calibration",
    "Checkpoint",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Dataset",
    "DeviceChoice",
    "DownloadError",
    "Epoch",
    "Evaluation",
    "Examples",
    "FitConfig",
    "Run",
    "RunFolder",
    "TrainingError",
    "compute_activations",
    "digit_images",
    "evaluate",
    "export",
    "export_run",
    "fit",
    "held_out_digit_images",
    "load_dataset",
    "recipe",
]


def test_the_public_names_are_these() -> None:
    assert vitrine.training.__all__ == OFFERED


def test_every_public_function_and_class_is_documented() -> None:
    for name in OFFERED:
        member = getattr(vitrine.training, name)
        if inspect.isclass(member) or inspect.isfunction(member):
            assert inspect.getdoc(member), name


def test_every_error_grows_from_the_one_root() -> None:
    errors = [getattr(vitrine.training, name) for name in OFFERED if name.endswith("Error")]
    assert len(errors) == 5
    assert all(issubclass(error, VitrineError) for error in errors)
