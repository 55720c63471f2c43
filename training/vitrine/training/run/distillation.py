"""Finds the teacher of a run: trains one, copies the teacher of another run, or reloads the run's own.

A teacher must not have been trained on the run's validation part, and a resumed run must keep its teacher. This module
knows neither epochs nor the teacher's training.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitrine.training import lengths
from vitrine.training.data import originals
from vitrine.training.data.cache import cache_dir, code_key
from vitrine.training.errors import CheckpointError
from vitrine.training.examples import augmentation
from vitrine.training.examples import batches as batches_module
from vitrine.training.examples.batches import AugmentedBatches
from vitrine.training.files.atomic import write_bytes
from vitrine.training.run import teacher as teacher_module
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.teacher import Teacher, fit_teacher, load_teacher, save_teacher

TEACHER_SETTINGS = ("augment", "counter_examples", "drawings", "forms", "teacher_epochs", "validation")
"""Settings that a teacher must share with the run of its student."""


BATCHES_CODE = tuple(
    Path(str(module.__file__)) for module in (augmentation, lengths, batches_module, originals, teacher_module)
)
"""Source files that decide the augmented images and the teacher's logits. They are part of the cache key."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundTeacher:
    """A teacher that fits a run."""

    network: Teacher
    """The teacher, on the device of the batches."""
    digest: str
    """SHA-256 of its file, in hex."""

    def cache_folder(self, device: torch.device) -> Path:
        """Folder for this teacher's cached logits, one per device kind, because CUDA and CPUs round differently.

        The source code that computes them is part of the name, so the results of other versions are never used.
        """
        kind = "-cuda" if device.type == "cuda" else ""
        return cache_dir() / "distillation" / (code_key(self.digest, BATCHES_CODE) + kind)


def find_teacher(
    checkpoint: Checkpoint,
    batches: AugmentedBatches,
    file: Path,
    named: Path | None,
    same_seed: bool,
    *,
    progress: bool = True,
) -> FoundTeacher:
    """Loads or trains the teacher of a run. A named teacher is copied to the run's own file for later resuming.

    Args:
        checkpoint: state of the run.
        batches: training data for a new teacher.
        file: the run's own teacher file: read if it exists, otherwise written.
        named: teacher file of another run to use instead.
        same_seed: True if the teacher must have the run's seed. With another seed it may have been trained on this
            run's validation part.
        progress: True shows a progress bar.

    Raises:
        CheckpointError: the teacher is missing, damaged, or does not fit this run; the text says why.
        TrainingError: the training of the teacher diverged.
    """
    if named is None and not file.exists():
        _make_teacher(checkpoint, batches, file, progress)
    chosen = named or file
    if not chosen.exists():
        raise CheckpointError(f"the teacher {chosen} does not exist")
    begun_here = named is None and not checkpoint.history
    network = load_teacher(
        chosen, _teacher_facts(checkpoint, with_seed=same_seed or begun_here), checkpoint.identity.shape
    )
    digest = _checked_digest(checkpoint, content := chosen.read_bytes(), chosen)
    if named:
        write_bytes(file, content)
    return FoundTeacher(network.folded().to(batches.device), digest)


def _make_teacher(checkpoint: Checkpoint, batches: AugmentedBatches, file: Path, progress: bool) -> None:
    if checkpoint.history:
        raise CheckpointError(
            f"the run was started with the teacher {file}, which is missing: restore it, or name a copy"
        )
    config = checkpoint.config
    classes = len(checkpoint.identity.classes) + bool(config.counter_examples)
    made = fit_teacher(batches, classes, config.teacher_epochs, config.seed, progress=progress)
    save_teacher(file, made, _teacher_facts(checkpoint, with_seed=True))


def _teacher_facts(checkpoint: Checkpoint, *, with_seed: bool) -> dict[str, Any]:
    """Data set and settings of a teacher, as they are stored in its file."""
    settings = (*TEACHER_SETTINGS, "seed") if with_seed else TEACHER_SETTINGS
    return {"digest": checkpoint.identity.digest, **{name: getattr(checkpoint.config, name) for name in settings}}


def _checked_digest(checkpoint: Checkpoint, content: bytes, file: Path) -> str:
    """Digest of a teacher's file; an error if the run was started with another teacher."""
    digest = hashlib.sha256(content).hexdigest()
    if checkpoint.teacher not in ("", digest):
        raise CheckpointError(
            f"the run was started with another teacher than {file}: name that teacher, or start a new run"
        )
    return digest
