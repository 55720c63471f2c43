"""Which teacher a run learns from: one that is made for it, one that is borrowed, and the same one again on resuming.

A teacher must not have learnt what the run is validated with, and a resumed run must not change its teacher. It knows
no epoch, and not how a teacher learns.
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
from vitrine.training.examples import lessons as lessons_module
from vitrine.training.examples.lessons import Lessons
from vitrine.training.files.atomic import write_bytes
from vitrine.training.run import teacher as teacher_module
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.teacher import Teacher, fit_teacher, load_teacher, save_teacher

TEACHER_SETTINGS = ("augment", "counter_examples", "teacher_epochs", "validation")
"""The settings that a teacher must have in common with the run that it teaches."""


LESSONS_CODE = tuple(
    Path(str(module.__file__)) for module in (augmentation, lengths, lessons_module, originals, teacher_module)
)
"""The files that decide how lessons are bent and judged."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundTeacher:
    """A teacher that a run may learn from."""

    network: Teacher
    """Where the lessons are."""
    digest: str
    """The SHA-256 of its file, in hex."""

    def lessons_folder(self, device: torch.device) -> Path:
        """Where the lessons that it judged on a device are kept: CUDA rounds in another way than a CPU.

        The code that bends them is part of the name, so that what another version of it made is never served.
        """
        kind = "-cuda" if device.type == "cuda" else ""
        return cache_dir() / "lessons" / (code_key(self.digest, LESSONS_CODE) + kind)


def find_teacher(
    checkpoint: Checkpoint, lessons: Lessons, file: Path, named: Path | None, same_seed: bool, *, progress: bool = True
) -> FoundTeacher:
    """The teacher of a run; one that is named is copied to the run's own file, so that resuming needs no name.

    Args:
        checkpoint: the run.
        lessons: what a teacher is made with.
        file: the run's own teacher: read where it is there, and otherwise made.
        named: the file of another run's, to take instead.
        same_seed: whether it must have the run's seed, because another one has learnt what this run is validated with.
        progress: whether to show a bar.

    Raises:
        CheckpointError: the teacher is missing, damaged, or not one for this run; the text says why.
        TrainingError: the teacher that was made is of no use.
    """
    if named is None and not file.exists():
        _make(checkpoint, lessons, file, progress)
    chosen = named or file
    if not chosen.exists():
        raise CheckpointError(f"there is no teacher {chosen}")
    begun_here = named is None and not checkpoint.history
    network = load_teacher(chosen, _facts(checkpoint, with_seed=same_seed or begun_here), checkpoint.identity.shape)
    digest = _digest_for(checkpoint, content := chosen.read_bytes(), chosen)
    if named:
        write_bytes(file, content)
    return FoundTeacher(network.folded().to(lessons.device), digest)


def _make(checkpoint: Checkpoint, lessons: Lessons, file: Path, progress: bool) -> None:
    if checkpoint.history:
        raise CheckpointError(f"the run has learnt from the teacher {file}, which is gone: put it back, or name it")
    config = checkpoint.config
    classes = len(checkpoint.identity.classes) + bool(config.counter_examples)
    made = fit_teacher(lessons, classes, config.teacher_epochs, config.seed, progress=progress)
    save_teacher(file, made, _facts(checkpoint, with_seed=True))


def _facts(checkpoint: Checkpoint, *, with_seed: bool) -> dict[str, Any]:
    """What a teacher was taught, or must have been."""
    settings = (*TEACHER_SETTINGS, "seed") if with_seed else TEACHER_SETTINGS
    return {"digest": checkpoint.identity.digest, **{name: getattr(checkpoint.config, name) for name in settings}}


def _digest_for(checkpoint: Checkpoint, content: bytes, file: Path) -> str:
    """The digest of a teacher's file, if it is the one that the run was begun with."""
    digest = hashlib.sha256(content).hexdigest()
    if checkpoint.teacher not in ("", digest):
        raise CheckpointError(f"the run was begun with another teacher than {file}: name that one, or begin a new run")
    return digest
