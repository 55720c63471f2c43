"""Fits an MLP to a data set, epoch by epoch, into a run folder.

The checkpoint is written after each epoch. After the last epoch, or after Ctrl-C, `completion` writes all other files
from it. `trainer` implements a single epoch.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from tqdm import tqdm

from vitrine.model import DIGITS, ArtifactError
from vitrine.model.artifact import check_name
from vitrine.training.data import Dataset, Examples, split, split_by_seed
from vitrine.training.errors import CheckpointError, ConfigError, DataError
from vitrine.training.examples.batches import AugmentedBatches, CachedTeacherBatches
from vitrine.training.examples.counter_examples import counter_examples
from vitrine.training.examples.written_forms import written_forms
from vitrine.training.files.lock import locked
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.network.learner import Learner
from vitrine.training.randomness import Stream, torch_generator
from vitrine.training.run.checkpoint import Checkpoint, RunIdentity
from vitrine.training.run.completion import Run, complete
from vitrine.training.run.config import FitConfig, find_device
from vitrine.training.run.distillation import find_teacher
from vitrine.training.run.fine_tuning import Start
from vitrine.training.run.recipes import recipe
from vitrine.training.run.tensorboard import EpochLog
from vitrine.training.run.trainer import Trainer

MAX_SAMPLES = 1024
"""Maximum number of held-out examples in the checkpoint, the basis of the activation statistics; and of training
examples that show a fine-tuned network's spread of values."""


def fit(
    dataset: Dataset,
    config: FitConfig | None,
    run_folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    resume: bool = False,
    teacher: str | os.PathLike[str] | None = None,
    start_from: str | os.PathLike[str] | None = None,
    tensorboard: bool = False,
    progress: bool = True,
) -> Run:
    """Fits an MLP and writes a complete run folder: checkpoint, artifact, metrics, pictures and model card.

    On one CPU, the same PyTorch version, data, settings and teacher give the same weights bit for bit. Interrupting and
    resuming the run does not change them.

    Ctrl-C (KeyboardInterrupt) stops the fit early: the folder is completed with the epochs finished so far, and the
    returned run is not `finished`. Before the end of the first epoch, KeyboardInterrupt is raised instead.

    Args:
        dataset: training and held-out examples.
        config: settings; None uses the data set's recipe, or the settings of the resumed run.
        run_folder: folder for all results. An existing run is replaced after the first epoch, unless it is resumed.
        name: name of the model on the server; None uses the data set's name.
        resume: True continues the run in `run_folder`. A finished run is completed again, or goes on to more epochs if
            `config` has more.
        teacher: teacher file of another run with the same data and settings, to skip its training. It is copied into
            the run folder at once. Its seed may differ only if the data set names its writers; otherwise it may have
            been trained on this run's validation part. None uses the run folder's teacher, or trains one. Requires
            `teacher_epochs` above 0.
        start_from: fine-tuning: folder of a run, or artifact, whose parameters the run starts from. It must have the
            same classes, size of pixels and layers. None starts at random.
        tensorboard: True writes loss, error and learning rate of each epoch for TensorBoard, into the run folder.
        progress: True shows progress bars.

    Returns:
        The completed run.

    Raises:
        ConfigError: the settings are not possible on this machine, with these classes or with the network to start
            from, a teacher is named and `teacher_epochs` is 0, TensorBoard isn't installed, or the model's name isn't
            printable.
        DataError: no class has enough examples for a validation part, or the network to start from has other classes or
            another size.
        CheckpointError: no run to resume or to start from, other settings or data than the resumed run has, or a
            teacher that does not fit.
        ArtifactError: the artifact to start from can't be read.
        TrainingError: the loss is not finite, or another fit is writing into the run folder.
    """
    folder = RunFolder(Path(run_folder))
    try:
        served_name = check_name(name or dataset.name)
    except ArtifactError as error:
        raise ConfigError(f"the model can't be served: {error}; choose another with --name") from error
    if resume and start_from is not None:
        raise ConfigError("a resumed run has parameters of its own: leave out the network to start from (--from)")
    start = None if start_from is None else Start.read(Path(start_from))
    log = EpochLog(folder.tensorboard, enabled=tensorboard)
    with locked(folder.lock, wait=False), closing(log):  # a folder must not mix the files of two runs
        if resume:
            begun = Checkpoint.load(folder.checkpoint)
            dataset = _in_order(dataset, begun.identity.classes)
            checkpoint = _resumed_checkpoint(begun, _identity(served_name, dataset), config, name)
        elif start:
            dataset = start.fitted_to(dataset)
            config = config or start.settings(recipe(dataset.source, dataset.classes))
            checkpoint = _started(
                _new_checkpoint(_identity(served_name, dataset), config, dataset.test), start, dataset
            )
        else:
            config = config or recipe(dataset.source, dataset.classes)
            checkpoint = _new_checkpoint(_identity(served_name, dataset), config, dataset.test)
        if checkpoint.config.forms and dataset.classes != DIGITS:
            raise ConfigError(f"forms are of digits, and {dataset.name} has other classes: set forms to 0")
        if teacher is not None and not checkpoint.config.teacher_epochs:
            raise ConfigError("a teacher is named, but teacher_epochs is 0, so the run learns from labels only")
        with _torch_threads(checkpoint.config.threads):
            if not checkpoint.finished:
                named = None if teacher is None else Path(teacher)
                checkpoint, trainer = trainer_for(checkpoint, dataset.train, folder, named, progress)
                checkpoint = _train(checkpoint, trainer, folder, log, progress)
            return complete(folder, checkpoint, dataset)


def _identity(name: str, dataset: Dataset) -> RunIdentity:
    return RunIdentity(name, dataset.name, dataset.source, dataset.digest(), dataset.classes, dataset.shape)


def _in_order(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The data set with its classes in the order of a run, if they are the same ones."""
    return dataset.with_classes(classes) if sorted(dataset.classes) == sorted(classes) else dataset


def _new_checkpoint(identity: RunIdentity, config: FitConfig, held_out: Examples) -> Checkpoint:
    start = torch_generator(config.seed, Stream.START)
    classes = len(identity.classes)
    weights = Learner(config.hidden, config.output, start, classes, identity.shape).state_dict()
    spread = np.linspace(0, len(held_out) - 1, min(MAX_SAMPLES, len(held_out))).astype(np.int64)
    samples = torch.tensor(held_out.pixels[spread])
    logits, labels = torch.empty(0, classes), torch.empty(0, dtype=torch.int64)  # none before the first epoch
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


def _started(checkpoint: Checkpoint, start: Start, dataset: Dataset) -> Checkpoint:
    """The checkpoint before the first epoch, with the parameters of `start`."""
    start.check(checkpoint.config)
    learner = checkpoint.learner()
    spread = np.linspace(0, len(dataset.train) - 1, min(MAX_SAMPLES, len(dataset.train))).astype(np.int64)
    learner.take_over(start.mlp, torch.tensor(dataset.train.pixels[spread]))
    return replace(checkpoint, weights=learner.state_dict(), origin=start.origin(dataset))


def _resumed_checkpoint(
    checkpoint: Checkpoint, identity: RunIdentity, config: FitConfig | None, name: str | None
) -> Checkpoint:
    """The checkpoint to resume. Only the device, the model's name and a larger number of epochs may differ.

    With more epochs the run goes on along the longer curve of the learning rate, which rises again at first.
    """
    config = config or checkpoint.config
    identity = identity if name else replace(identity, name=checkpoint.identity.name)
    if checkpoint.identity.shape != identity.shape:
        begun, wanted = ("x".join(map(str, shape)) for shape in (checkpoint.identity.shape, identity.shape))
        raise CheckpointError(
            f"the run was started with size {begun}, not {wanted}: resume it with the same size, or start a new run"
        )
    if checkpoint.identity.digest != identity.digest:
        raise CheckpointError(f"the run was started with other data than {identity.dataset} has now: start a new run")
    before, now = checkpoint.config.to_dict(), config.to_dict()
    free = {"device"} | ({"epochs"} if config.epochs > checkpoint.config.epochs else set())
    changed = [key for key in now if key not in free and now[key] != before[key]]
    if changed:
        settings = ", ".join(f"{key} {before[key]}, not {now[key]}" for key in changed)
        raise CheckpointError(
            f"the run was started with {settings}: resume it with the same settings, or start a new run"
        )
    return replace(checkpoint, config=config, identity=identity)


def trainer_for(
    checkpoint: Checkpoint, examples: Examples, folder: RunFolder, named: Path | None, progress: bool
) -> tuple[Checkpoint, Trainer]:
    """Builds the trainer of a run, and loads or trains the run's teacher first if its settings ask for one."""
    config, identity = checkpoint.config, checkpoint.identity
    kept, held_out = split(examples, config.validation, config.seed)
    if len(held_out) == 0:
        raise DataError("no class has two different training examples, so none is left for validation")
    learnt = _share(examples[kept], config.drawings)
    if config.forms:
        learnt += written_forms(config.forms, identity.shape, progress=progress)
    if config.counter_examples:
        learnt += counter_examples(config.counter_examples, identity.classes, identity.shape, progress=progress)
    batches = AugmentedBatches(learnt, config.augment, config.seed, find_device(config.device))
    if not config.teacher_epochs:
        return checkpoint, Trainer(checkpoint, batches, examples[held_out])
    teacher = find_teacher(checkpoint, batches, folder.teacher, named, split_by_seed(examples), progress=progress)
    teacher_batches = CachedTeacherBatches(
        batches, teacher.network, teacher.cache_folder(batches.device), config.versions
    )
    return replace(checkpoint, teacher=teacher.digest), Trainer(checkpoint, teacher_batches, examples[held_out])


def _share(examples: Examples, drawings: int) -> Examples:
    """The examples to learn from: of each piece of writing that was drawn with several pens, so many drawings."""
    if examples.drawings is None:
        return examples
    return examples[np.flatnonzero(examples.drawings < drawings)]


def _train(checkpoint: Checkpoint, trainer: Trainer, folder: RunFolder, log: EpochLog, progress: bool) -> Checkpoint:
    """Runs the remaining epochs, and saves the checkpoint after each."""
    steps = checkpoint.config.epochs * trainer.steps
    begun = len(checkpoint.history) * trainer.steps
    bar = tqdm(desc="fit", total=steps, initial=begun, unit="step", disable=not progress, dynamic_ncols=True)
    try:
        with bar, _interruption_event() as interrupted:
            while not (checkpoint.finished or interrupted.is_set()):
                checkpoint = trainer.run_epoch(checkpoint, bar)
                _save_checkpoint(checkpoint, folder)
                log.write(checkpoint.history[-1], trainer.learning_rate_after(len(checkpoint.history)))
    except KeyboardInterrupt:
        if not checkpoint.history:
            raise
    _save_checkpoint(checkpoint, folder)  # Ctrl-C may have come between the end of an epoch and its save
    return checkpoint


@contextmanager
def _interruption_event() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets in addition to raising KeyboardInterrupt, which Python ignores inside a finalizer."""
    noticed, before = threading.Event(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noticed  # only the main thread gets signals, and SIGINT may be ignored
        return

    def note(number: int, frame: FrameType | None) -> None:
        noticed.set()
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGINT, before)


def _save_checkpoint(checkpoint: Checkpoint, folder: RunFolder) -> None:
    folder.remove_results()  # if killed now, no results of older weights must remain
    checkpoint.save(folder.checkpoint)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Sets PyTorch's CPU threads to `count` within the block, then restores the previous number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
