"""Makes the artifact: data sets, the MLP, fitting, evaluation, and the export to ONNX. It knows no server or client.

dataset = load_dataset("digits")
run = fit(dataset, FitConfig(hidden=(128, 64)), "runs/digits")
run.evaluation.accuracy, run.folder.model
"""

from vitrine.training.calibration import Calibration
from vitrine.training.checkpoint import Checkpoint, Epoch
from vitrine.training.completion import Run, export_run
from vitrine.training.config import DeviceChoice, FitConfig
from vitrine.training.data import Dataset, Examples, digit_images, held_out_digit_images, load_dataset
from vitrine.training.errors import CheckpointError, ConfigError, DataError, DownloadError, TrainingError
from vitrine.training.evaluate import Evaluation, evaluate
from vitrine.training.export import compute_activations, export
from vitrine.training.fit import fit
from vitrine.training.mlp import MLP
from vitrine.training.recipes import RECIPES, recipe
from vitrine.training.run_folder import RunFolder

__all__ = [
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
