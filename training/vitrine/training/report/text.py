"""A report in words: tables for a terminal, and a page of Markdown beside its pictures. It measures nothing."""

from collections.abc import Sequence

from vitrine.model import DIGITS
from vitrine.training.network.evaluate import Evaluation, percent
from vitrine.training.rendering.stress import Outcome
from vitrine.training.report.measure import Report, Stress
from vitrine.training.report.novelty import Novelty
from vitrine.training.report.table import Table


def classes_table(evaluation: Evaluation) -> Table:
    """Recall and precision by digit."""
    counts = evaluation.confusion.sum(axis=1)
    rows = [
        (digit, f"{count:,}", percent(evaluation.recall[digit]), percent(evaluation.precision[digit]))
        for digit, count in zip(evaluation.classes, counts, strict=True)
    ]
    noun = "digit" if evaluation.classes == DIGITS else "class"
    return Table((noun, "images", "recall", "precision"), rows)


def novelty_table(novelty: Novelty) -> Table:
    """AUROC and share refused by set."""
    rows = [
        (each.name, f"{len(each.scores):,}", percent(each.empty), f"{each.auroc:.4f}", percent(each.refused))
        for each in novelty.sets
    ]
    return Table(("no digit", "images", "without ink", "AUROC", "refused"), rows)


def stress_table(outcomes: Sequence[Outcome]) -> Table:
    """The share of recognised digits by condition."""
    rows = [(each.condition, f"{each.count:,}", percent(each.accuracy)) for each in outcomes]
    return Table(("condition", "images", "recognised"), rows)


def to_text(report: Report) -> str:
    """What a terminal shows of a report."""
    parts = [classes_table(report.evaluation).to_text(), f"{_error(report)}\n{_calibration(report)}"]
    if report.novelty:
        parts += [novelty_table(report.novelty).to_text(), _kept(report.novelty)]
    if report.stress:
        parts += [stress_table(report.stress.outcomes).to_text(), _mean(report.stress)]
    return "\n\n".join(parts)


def to_markdown(report: Report) -> str:
    """The page that goes with the pictures; it links to them by their names in `ReportFolder`."""
    parts = [
        f"# {report.model}: how good it is, and where it is weak",
        f"Measured by `vitrine-train evaluate` on {report.evaluation.count:,} images of {report.dataset} that it "
        "wasn't trained on. Every number is in [report.json](report.json).",
        f"**{_sentence(_error(report))}**",
        classes_table(report.evaluation).to_markdown(),
        "![Which digit was taken for which](confusion_matrix.png)",
        "## How sure it is, and how often it is right",
        f"{_sentence(_calibration(report))} Its logits are divided by a temperature of {report.temperature:.3g}.",
        "![Confidence against accuracy](calibration.png)",
        *_novelty_page(report.novelty),
        *_stress_page(report.stress),
        "## What it is most wrong about",
        "The images with the highest loss, as the network sees them: what they are, what it took them for, and how "
        "probable it held that to be. It held what they are less than even probable.",
        "![The most wrong images](most_wrong.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _novelty_page(novelty: Novelty | None) -> list[str]:
    if novelty is None:
        return []
    return [
        "## What it makes of images that show no digit",
        "Images were made that show none. Each is compared with the held-out digits by its novelty, −log Σ exp of the "
        "logits. AUROC is how often it is the more novel of the two, ties counted half; refused is the share above the "
        f"threshold of {novelty.threshold:.3f}. Without ink are those of which preparation leaves an empty page.",
        novelty_table(novelty).to_markdown(),
        _sentence(_kept(novelty)),
        "![Refused images against refused digits](roc.png)",
        "Of each set, those that pass for digits most easily:",
        "![The least novel images of each set](least_novel.png)",
    ]


def _stress_page(stress: Stress | None) -> list[str]:
    if stress is None:
        return []
    return [
        "## Digits as people send them",
        "MNIST's digits, rendered under conditions of light, pen, paper and size, and prepared as a server would.",
        stress_table(stress.outcomes).to_markdown(),
        _sentence(_mean(stress)),
    ]


def _error(report: Report) -> str:
    evaluation = report.evaluation
    return f"error {percent(evaluation.error)}: {evaluation.errors:,} of {evaluation.count:,} misclassified"


def _calibration(report: Report) -> str:
    return f"expected calibration error {percent(report.calibration_error)}, in {len(report.reliability.counts)} bins"


def _kept(novelty: Novelty) -> str:
    return (
        f"of {len(novelty.digits):,} digits {percent(novelty.kept)} are kept; of {len(novelty.printed):,} printed ones "
        f"{percent(novelty.printed_kept)}, and {percent(novelty.printed_recognised)} recognised"
    )


def _mean(stress: Stress) -> str:
    return f"mean over conditions {percent(stress.mean)}"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
