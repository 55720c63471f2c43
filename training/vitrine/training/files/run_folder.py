"""File names in a run folder and in a report folder. It does not know the contents of the files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReportFolder:
    """Folder of one report on a run."""

    path: Path
    """Path of the folder."""

    @property
    def numbers(self) -> Path:
        """All numbers, as JSON."""
        return self.path / "report.json"

    @property
    def page(self) -> Path:
        """The report as a Markdown page with pictures."""
        return self.path / "REPORT.md"

    @property
    def calibration(self) -> Path:
        """Plot of accuracy against confidence."""
        return self.path / "calibration.png"

    @property
    def confusion_matrix(self) -> Path:
        """Plot of the confusion matrix."""
        return self.path / "confusion_matrix.png"

    @property
    def most_wrong(self) -> Path:
        """Contact sheet of the examples with the highest loss."""
        return self.path / "most_wrong.png"

    @property
    def handwriting(self) -> Path:
        """Contact sheet of each source's and form's examples with the highest loss; only if these were measured."""
        return self.path / "handwriting.png"

    @property
    def least_novel(self) -> Path:
        """Contact sheet of the images without a digit that resemble digits most; only if novelty was measured."""
        return self.path / "least_novel.png"

    @property
    def roc(self) -> Path:
        """ROC curves of the novelty; only if novelty was measured."""
        return self.path / "roc.png"

    def remove(self) -> None:
        """Deletes the files of the report, and no others in the folder."""
        always = (self.page, self.numbers, self.calibration, self.confusion_matrix, self.most_wrong)
        for file in (*always, self.handwriting, self.least_novel, self.roc):
            file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Folder of one training run."""

    path: Path
    """Path of the folder."""

    @property
    def checkpoint(self) -> Path:
        """State of the run after each epoch; all other files are made from it."""
        return self.path / "checkpoint.pt"

    @property
    def teacher(self) -> Path:
        """Teacher of the run, if its settings ask for one."""
        return self.path / "teacher.pt"

    @property
    def model(self) -> Path:
        """The artifact."""
        return self.path / "model.onnx"

    @property
    def metrics(self) -> Path:
        """All numbers, as JSON."""
        return self.path / "metrics.json"

    @property
    def learning_curve(self) -> Path:
        """Plot of loss and validation error by epoch."""
        return self.path / "learning_curve.png"

    @property
    def confusion_matrix(self) -> Path:
        """Plot of the confusion matrix."""
        return self.path / "confusion_matrix.png"

    @property
    def model_card(self) -> Path:
        """The model card, in Markdown."""
        return self.path / "MODEL_CARD.md"

    @property
    def evaluation(self) -> ReportFolder:
        """Report of `vitrine-train evaluate`."""
        return ReportFolder(self.path / "evaluation")

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files for TensorBoard; only if the fit was asked for them."""
        return self.path / "tensorboard"

    @property
    def lock(self) -> Path:
        """Lock file held by a fit while it writes into the folder."""
        return self.path / ".lock"

    def remove_results(self) -> None:
        """Deletes all files made from the checkpoint, so that none remains beside another checkpoint."""
        data = self.model.with_name(self.model.name + ".data")
        pictures = (self.learning_curve, self.confusion_matrix)
        for file in (self.model, data, self.metrics, *pictures, self.model_card):
            file.unlink(missing_ok=True)
        self.evaluation.remove()
