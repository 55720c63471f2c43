"""Formats a report: tables for a terminal, and a Markdown page with the pictures. It measures nothing."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from vitrine.model import DIGITS
from vitrine.training.network.evaluate import Evaluation, percent
from vitrine.training.rendering.stress import ConditionResult
from vitrine.training.report.handwriting import GroupResult
from vitrine.training.report.measurements import Report, StressReport
from vitrine.training.report.mistakes import Mistake
from vitrine.training.report.novelty import KEPT_DIGITS, NoveltyReport, SetResult
from vitrine.training.report.table import Table

MOST_PRINTED = 10
"""Examples of a kind that a terminal shows; the page and the JSON have more."""


def classes_table(evaluation: Evaluation) -> Table:
    """Recall and precision by class."""
    counts, recall, precision = evaluation.confusion.sum(axis=1), evaluation.recall, evaluation.precision
    rows = [
        (label, f"{count:,}", percent(recall[label]), percent(precision[label]))
        for label, count in zip(evaluation.classes, counts, strict=True)
    ]
    noun = "digit" if evaluation.classes == DIGITS else "class"
    return Table((noun, "images", "recall", "precision"), rows)


def groups_table(groups: Sequence[GroupResult], noun: str) -> Table:
    """Accuracy and share of images kept as digits, by source or form."""
    rows = [
        (
            group.name,
            f"{group.evaluation.count:,}",
            f"{group.evaluation.errors:,}",
            percent(group.evaluation.accuracy),
            percent(group.kept),
        )
        for group in groups
    ]
    return Table((noun, "images", "errors", "recognised", "kept"), rows)


def novelty_table(novelty: NoveltyReport, results: Sequence[SetResult], noun: str = "no digit") -> Table:
    """AUROC, share of refused images, and share of those taken for digits, by set."""
    rows = [
        (
            each.name,
            f"{len(each.scores):,}",
            percent(each.empty),
            f"{each.auroc:.4f}",
            percent(each.refused),
            percent(novelty.taken_for_digits(each)),
        )
        for each in results
    ]
    return Table((noun, "images", "without ink", "AUROC", "refused", f"taken, {KEPT_DIGITS:.0%} kept"), rows)


def _novelty_tables(novelty: NoveltyReport) -> list[Table]:
    """All sets, and apart from them those of letters that look like a digit."""
    apart = [novelty_table(novelty, novelty.look_alikes, "looks like a digit")] if novelty.look_alikes else []
    return [novelty_table(novelty, novelty.sets), *apart]


def examples_table(examples: Sequence[Mistake]) -> Table:
    """Examples by their names: file, or index in the data set."""
    rows = [(each.name, each.label, each.taken_for, percent(each.probability)) for each in examples]
    return Table(("image", "label", "taken for", "probability"), rows)


def stress_table(results: Sequence[ConditionResult]) -> Table:
    """Accuracy by condition."""
    rows = [(each.condition, f"{each.count:,}", percent(each.accuracy)) for each in results]
    return Table(("condition", "images", "recognised"), rows)


def to_text(report: Report) -> str:
    """The report for a terminal."""
    parts = [classes_table(report.evaluation).to_text(), f"{_error(report)}\n{_calibration(report)}"]
    parts += [groups_table(groups, noun).to_text() for noun, groups in _groups(report).items()]
    if report.novelty:
        parts += [table.to_text() for table in _novelty_tables(report.novelty)] + [_kept(report.novelty)]
    if report.stress:
        parts += [stress_table(report.stress.results).to_text(), _mean(report.stress)]
    parts += [f"{title}\n{examples_table(each[:MOST_PRINTED]).to_text()}" for title, each in _named(report).items()]
    return "\n\n".join(parts)


def _named(report: Report) -> dict[str, Sequence[Mistake]]:
    """Examples that are files, with what they are; none where only indices are known."""
    listed = {
        "highest loss:": report.most_wrong,
        f"refused as unlike any class, {report.refused:,}:": report.most_novel,
    }
    return {title: each for title, each in listed.items() if each and each[0].file is not None}


def to_markdown(report: Report) -> str:
    """The report as a Markdown page; it links to the pictures by their names in `ReportFolder`."""
    parts = [
        f"# Evaluation of {report.model}",
        f"Measured by `vitrine-train evaluate` on {report.evaluation.count:,} images of {report.dataset} that the "
        "model was not trained on. All numbers are in [report.json](report.json).",
        f"**{_sentence(_error(report))}**",
        classes_table(report.evaluation).to_markdown(),
        "![Confusion matrix](confusion_matrix.png)",
        "## Calibration",
        f"{_sentence(_calibration(report))} The logits are divided by a temperature of {report.temperature:.3g}.",
        "![Accuracy against confidence](calibration.png)",
        *_handwriting_page(report),
        *_novelty_page(report.novelty),
        *_stress_page(report.stress),
        "## Worst mistakes",
        "The images with the highest loss, as the network sees them, with label, prediction and its probability. The "
        "network gave their label a probability below one half.",
        "![Images with the highest loss](most_wrong.png)",
        *([examples_table(report.most_wrong).to_markdown()] if report.most_wrong else []),
        *_refused_page(report),
    ]
    return "\n\n".join(parts) + "\n"


def _groups(report: Report) -> dict[str, Sequence[GroupResult]]:
    """What was measured by source and by form."""
    return {noun: groups for noun, groups in (("source", report.sources), ("form", report.forms)) if groups}


GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "source": "Sources are data sets, and contributors within a data set; their writers wrote no training image.",
        "form": "Forms are ways of writing a digit that data have few of, made with random numbers that no fit learns "
        "from.",
    }
)
"""What examples are grouped by, and what that means."""


def _handwriting_page(report: Report) -> list[str]:
    groups = _groups(report)
    if not groups:
        return []
    kept = "Kept is the share of images at or below the novelty threshold."
    return [
        "## Whose handwriting, and which forms",
        " ".join((*(GROUPS[noun] for noun in groups), kept)),
        *(groups_table(each, noun).to_markdown() for noun, each in groups.items()),
        "The images of each with the highest loss, worst first:",
        "![Images of each source and form with the highest loss](handwriting.png)",
    ]


def _novelty_page(novelty: NoveltyReport | None) -> list[str]:
    if novelty is None:
        return []
    return [
        "## Images that show no digit",
        "Generated images without a digit are compared with the held-out digits by their novelty, −log Σ exp of the "
        "logits. AUROC is the probability that such an image has a higher novelty than a digit, with ties counted as "
        f"one half. Refused is the share above the threshold of {novelty.threshold:.3f}. Taken is the share that "
        f"passes as a digit at the threshold that keeps {KEPT_DIGITS:.0%} of the held-out digits. Without ink is the "
        "share that preparation turns into an empty page. Letters that look like a digit are counted apart.",
        *(table.to_markdown() for table in _novelty_tables(novelty)),
        _sentence(_kept(novelty)),
        "![Share of refused images against share of refused digits](roc.png)",
        "The images of each set with the lowest novelty, which resemble digits most:",
        "![Images with the lowest novelty in each set](least_novel.png)",
    ]


def _refused_page(report: Report) -> list[str]:
    if not report.refused:
        return []
    return [
        "## Refused images",
        f"Images above the novelty threshold: {report.refused:,} of {report.evaluation.count:,}. The most novel ones:",
        examples_table(report.most_novel).to_markdown(),
    ]


def _stress_page(stress: StressReport | None) -> list[str]:
    if stress is None:
        return []
    return [
        "## Photos, scans and drawings",
        "MNIST's digits, rendered with different light, pens, papers and sizes, and forms of digits that were written "
        "by hand and photographed. All are prepared as on the server.",
        stress_table(stress.results).to_markdown(),
        _sentence(_mean(stress)),
    ]


def _error(report: Report) -> str:
    evaluation = report.evaluation
    return f"error {percent(evaluation.error)}: {evaluation.errors:,} of {evaluation.count:,} misclassified"


def _calibration(report: Report) -> str:
    return f"expected calibration error {percent(report.calibration_error)}, in {len(report.reliability.counts)} bins"


def _kept(novelty: NoveltyReport) -> str:
    return (
        f"{percent(novelty.kept)} of {len(novelty.digits):,} digits are kept; of {len(novelty.printed):,} printed "
        f"digits {percent(novelty.printed_kept)} are kept and {percent(novelty.printed_recognised)} recognised"
    )


def _mean(stress: StressReport) -> str:
    return f"mean over conditions {percent(stress.mean)}, over forms {percent(stress.forms_mean)}"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
