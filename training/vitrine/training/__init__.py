"""The training package: data sets, the MLP, fitting, evaluation and ONNX export. It knows neither server nor client.

dataset = load_dataset("digits")
run = fit(dataset, FitConfig(hidden=(128, 64)), "runs/digits")
run.evaluation.accuracy, run.folder.model
"""

from vitrine.training.data import Dataset, Examples, digit_images, held_out_digit_images, load_dataset
from vitrine.training.errors import CheckpointError, ConfigError, DataError, DownloadError, TrainingError
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.network.calibration import Calibration
from vitrine.training.network.evaluate import Evaluation, evaluate
from vitrine.training.network.export import compute_activations, export
from vitrine.training.network.mlp import MLP
from vitrine.training.run.checkpoint import Checkpoint, Epoch
from vitrine.training.run.completion import Run, export_run
from vitrine.training.run.config import DeviceChoice, FitConfig
from vitrine.training.run.fit import fit
from vitrine.training.run.recipes import RECIPES, recipe

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
