"""What lies where in a run folder, and in the folder of a report. It knows names, and not what is in the files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReportFolder:
    """The folder of one report on a run."""

    path: Path
    """Where it is."""

    @property
    def numbers(self) -> Path:
        """Every number, as JSON."""
        return self.path / "report.json"

    @property
    def page(self) -> Path:
        """The report in words, with its pictures, in Markdown."""
        return self.path / "REPORT.md"

    @property
    def calibration(self) -> Path:
        """Confidence against accuracy, as a picture."""
        return self.path / "calibration.png"

    @property
    def confusion_matrix(self) -> Path:
        """Which digit was taken for which, as a picture."""
        return self.path / "confusion_matrix.png"

    @property
    def most_wrong(self) -> Path:
        """The examples with the highest loss, as a picture."""
        return self.path / "most_wrong.png"

    @property
    def least_novel(self) -> Path:
        """What shows no digit and passes for one most easily, as a picture; only where that was measured."""
        return self.path / "least_novel.png"

    @property
    def roc(self) -> Path:
        """What novelty refuses, as a picture; only where that was measured."""
        return self.path / "roc.png"

    def remove(self) -> None:
        """Takes away the report, and nothing else that lies there."""
        pictures = (self.calibration, self.confusion_matrix, self.most_wrong, self.least_novel, self.roc)
        for file in (self.page, self.numbers, *pictures):
            file.unlink(missing_ok=True)


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
        """The networks that taught the model, where a recipe has one."""
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
    def evaluation(self) -> ReportFolder:
        """What `vitrine-train evaluate` reports."""
        return ReportFolder(self.path / "evaluation")

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
        self.evaluation.remove()
