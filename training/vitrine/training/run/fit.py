"""Fits an MLP to a data set, epoch by epoch, into a run folder.

After each epoch the checkpoint is written; when the epochs are done, or someone presses Ctrl-C, `completion` makes
everything else from it. What an epoch is, `trainer` knows.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from tqdm import tqdm

from vitrine.training.data import Dataset, Examples, split, split_by_seed
from vitrine.training.errors import CheckpointError, ConfigError, DataError
from vitrine.training.examples.counter_examples import counter_examples
from vitrine.training.examples.lessons import JudgedLessons, Lessons
from vitrine.training.files.lock import locked
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.network.learner import Learner
from vitrine.training.randomness import Stream, torch_generator
from vitrine.training.run.checkpoint import Checkpoint, RunIdentity
from vitrine.training.run.completion import Run, complete
from vitrine.training.run.config import FitConfig, find_device
from vitrine.training.run.distillation import find_teacher
from vitrine.training.run.recipes import recipe
from vitrine.training.run.trainer import Trainer

SAMPLES = 1024
"""How many held-out examples go into the checkpoint at most: what the statistics of the activations are taken over."""


def fit(
    dataset: Dataset,
    config: FitConfig | None,
    run_folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    resume: bool = False,
    teacher: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Run:
    """Fits an MLP and completes a run folder: checkpoint, artifact, metrics, pictures and model card.

    On one CPU, with one version of PyTorch, the same data and settings, and the same teacher where one is named, give
    the same weights, bit for bit, whether the run was interrupted and resumed or not.

    Ctrl-C (KeyboardInterrupt) ends the fit early and keeps what was reached: the folder is completed with what
    is kept so far, and the returned run isn't `finished`. Before the first epoch's end it is raised on.

    Args:
        dataset: what to fit to.
        config: the settings; None takes the data set's recipe, or those of the run that is resumed.
        run_folder: where everything goes; a run that is there already is replaced, unless it is resumed, as soon as
            the first epoch is done.
        name: what the model is called when it is served; None takes the data set's name.
        resume: go on with the run in `run_folder`. A finished run is completed anew.
        teacher: the file of a teacher that another run has made, with the same data and settings, to be spared the
            time; it is copied into the run folder at once. It may have another seed where the data know their writers;
            elsewhere it would have learnt what this run is validated with. None takes the run folder's, and makes one
            where there is none. Only for settings with a teacher.
        progress: whether to show bars.

    Returns:
        The completed run.

    Raises:
        ConfigError: the settings can't be had on this machine, or have no teacher, and one is named.
        DataError: no class has examples enough for a validation part.
        CheckpointError: there is no run to go on with, or it has other settings or data; or the teacher isn't its.
        TrainingError: the loss is no number any more, or another fit is writing into the run folder.
    """
    folder = RunFolder(Path(run_folder))
    identity = RunIdentity(
        name or dataset.name, dataset.name, dataset.source, dataset.digest(), dataset.classes, dataset.shape
    )
    with locked(folder.lock, wait=False):  # files of two runs beside each other would lie
        if resume:
            checkpoint = _resumed(Checkpoint.load(folder.checkpoint), identity, config, name)
        else:
            checkpoint = _begun(identity, config or recipe(dataset.source, dataset.classes), dataset.test)
        if teacher is not None and not checkpoint.config.teacher_epochs:
            raise ConfigError("a teacher is named, and teacher_epochs is 0: the labels alone teach")
        with _threads(checkpoint.config.threads):
            if not checkpoint.finished:
                named = None if teacher is None else Path(teacher)
                checkpoint, trainer = trainer_for(checkpoint, dataset.train, folder, named, progress)
                checkpoint = _train(checkpoint, trainer, folder, progress)
            return complete(folder, checkpoint, dataset)


def _begun(identity: RunIdentity, config: FitConfig, held_out: Examples) -> Checkpoint:
    start = torch_generator(config.seed, Stream.START)
    classes = len(identity.classes)
    weights = Learner(config.hidden, config.output, start, classes, identity.shape).state_dict()
    spread = np.linspace(0, len(held_out) - 1, min(SAMPLES, len(held_out))).astype(np.int64)
    samples = torch.tensor(held_out.pixels[spread])
    logits, labels = torch.empty(0, classes), torch.empty(0, dtype=torch.int64)  # there are none yet
    return Checkpoint(
        identity,
        config,
        history=(),
        weights=weights,
        optimizer={},
        kept_weights={},
        validation_logits=logits,
        validation_labels=labels,
        samples=samples,
    )


def _resumed(checkpoint: Checkpoint, identity: RunIdentity, config: FitConfig | None, name: str | None) -> Checkpoint:
    """The checkpoint, where it fits; a run may move to another device, and nothing else may change."""
    config = config or checkpoint.config
    identity = identity if name else replace(identity, name=checkpoint.identity.name)
    if checkpoint.identity.shape != identity.shape:
        begun, wanted = ("x".join(map(str, shape)) for shape in (checkpoint.identity.shape, identity.shape))
        raise CheckpointError(f"the run was begun with size {begun}, not {wanted}: resume it so, or begin a new one")
    if checkpoint.identity.digest != identity.digest:
        raise CheckpointError(f"the run was begun with other data than {identity.dataset} has now: begin a new one")
    before, now = checkpoint.config.to_dict(), config.to_dict()
    changed = [key for key in now if key != "device" and now[key] != before[key]]
    if changed:
        settings = ", ".join(f"{key} {before[key]}, not {now[key]}" for key in changed)
        raise CheckpointError(f"the run was begun with {settings}: resume it so, or begin a new one")
    return replace(checkpoint, config=config, identity=identity)


def trainer_for(
    checkpoint: Checkpoint, examples: Examples, folder: RunFolder, named: Path | None, progress: bool
) -> tuple[Checkpoint, Trainer]:
    """Everything that an epoch needs, and the checkpoint with its teacher, where the settings want one."""
    config, identity = checkpoint.config, checkpoint.identity
    kept, held_out = split(examples, config.validation, config.seed)
    if len(held_out) == 0:
        raise DataError("no class has two different training examples: there is nothing to validate with")
    learnt = examples[kept]
    if config.counter_examples:
        learnt += counter_examples(config.counter_examples, identity.classes, identity.shape, progress=progress)
    lessons = Lessons(learnt, config.augment, config.seed, find_device(config.device))
    if not config.teacher_epochs:
        return checkpoint, Trainer(checkpoint, lessons, examples[held_out])
    teacher = find_teacher(checkpoint, lessons, folder.teacher, named, split_by_seed(examples), progress=progress)
    judged = JudgedLessons(lessons, teacher.network, teacher.lessons_folder(lessons.device), config.versions)
    return replace(checkpoint, teacher=teacher.digest), Trainer(checkpoint, judged, examples[held_out])


def _train(checkpoint: Checkpoint, trainer: Trainer, folder: RunFolder, progress: bool) -> Checkpoint:
    """Runs the epochs that are left, and keeps what each reached."""
    steps = checkpoint.config.epochs * trainer.steps
    begun = len(checkpoint.history) * trainer.steps
    bar = tqdm(desc="fit", total=steps, initial=begun, unit="step", disable=not progress, dynamic_ncols=True)
    try:
        with bar, _noticing_ctrl_c() as interrupted:
            while not (checkpoint.finished or interrupted.is_set()):
                checkpoint = trainer.run_epoch(checkpoint, bar)
                _keep(checkpoint, folder)
    except KeyboardInterrupt:
        if not checkpoint.history:
            raise
    _keep(checkpoint, folder)  # the interruption may have come between an epoch's end and its writing
    return checkpoint


@contextmanager
def _noticing_ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, beside raising KeyboardInterrupt: Python drops one that falls into a finalizer."""
    noticed, before = threading.Event(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noticed  # signals aren't this thread's, or somebody wants none
        return

    def note(number: int, frame: FrameType | None) -> None:
        noticed.set()
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGINT, before)


def _keep(checkpoint: Checkpoint, folder: RunFolder) -> None:
    folder.remove_results()  # a kill from here on must not leave them beside weights that they know nothing of
    checkpoint.save(folder.checkpoint)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """PyTorch with `count` CPU threads, and afterwards with as many as it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
