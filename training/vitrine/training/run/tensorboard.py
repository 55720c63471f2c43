"""Writes the figures of each epoch for TensorBoard, which is an extra of its own and loaded only when asked for."""

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vitrine.model.distribution import install_command
from vitrine.training.errors import ConfigError
from vitrine.training.run.checkpoint import Epoch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class EpochLog:
    """A log of epochs as event files; it writes nothing before the first epoch is done.

    Args:
        folder: folder of the event files. The first epoch of a run removes those of the run that it replaces.
        enabled: False writes nothing.

    Raises:
        ConfigError: it is enabled, and TensorBoard isn't installed.
    """

    def __init__(self, folder: Path, *, enabled: bool) -> None:
        if enabled and importlib.util.find_spec("tensorboard") is None:
            raise ConfigError(f"--tensorboard needs the extra `tensorboard`: {install_command('tensorboard')}")
        self._folder, self._enabled = folder, enabled
        self._writer: SummaryWriter | None = None

    def write(self, epoch: Epoch, learning_rate: float) -> None:
        """Writes the losses and the error of an epoch, and the learning rate of its last step."""
        if epoch.number == 1:
            shutil.rmtree(self._folder, ignore_errors=True)
        if not self._enabled:
            return
        writer = self._opened(epoch.number)
        writer.add_scalar("loss/training", epoch.training_loss, epoch.number)
        writer.add_scalar("loss/validation", epoch.validation_loss, epoch.number)
        writer.add_scalar("error/validation", epoch.validation_error, epoch.number)
        writer.add_scalar("learning_rate", learning_rate, epoch.number)
        writer.flush()

    def close(self) -> None:
        """Closes the event file, if one was begun."""
        if self._writer:
            self._writer.close()

    def _opened(self, first: int) -> "SummaryWriter":
        """The writer; TensorBoard shows what it writes from epoch `first` on in place of an earlier start's."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes seconds to load

            self._writer = SummaryWriter(str(self._folder), purge_step=first)
        return self._writer
