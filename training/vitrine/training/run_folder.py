"""What lies where in a run folder. It knows names, and not what is in the files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one training run."""

    path: Path
    """Where it is."""

    @property
    def checkpoint(self) -> Path:
        """What the run has reached, after each epoch: what everything else is made from."""
        return self.path / "checkpoint.pt"

    @property
    def teacher(self) -> Path:
        """The network that taught the model, where a recipe has one."""
        return self.path / "teacher.pt"

    @property
    def model(self) -> Path:
        """The artifact."""
        return self.path / "model.onnx"

    @property
    def metrics(self) -> Path:
        """Every number, as JSON."""
        return self.path / "metrics.json"

    @property
    def learning_curve(self) -> Path:
        """Loss and validation error by epoch, as a picture."""
        return self.path / "learning_curve.png"

    @property
    def confusion_matrix(self) -> Path:
        """Which class was taken for which, as a picture."""
        return self.path / "confusion_matrix.png"

    @property
    def model_card(self) -> Path:
        """What the model is, for whom, and how to make it again, in Markdown."""
        return self.path / "MODEL_CARD.md"

    @property
    def lock(self) -> Path:
        """What a fit holds while it writes here."""
        return self.path / ".lock"

    def remove_results(self) -> None:
        """Takes away all that was made from a checkpoint: beside another checkpoint it would lie."""
        data = self.model.with_name(self.model.name + ".data")
        pictures = (self.learning_curve, self.confusion_matrix)
        for file in (self.model, data, self.metrics, *pictures, self.model_card):
            file.unlink(missing_ok=True)
