"""Writes a report into a folder: all numbers, the pictures, and a Markdown page."""

import json

from vitrine.model.drawing import load_matplotlib
from vitrine.training.files.atomic import write_text
from vitrine.training.files.run_folder import ReportFolder
from vitrine.training.report.contact_sheet import draw_hardest, draw_least_novel, draw_most_wrong
from vitrine.training.report.measurements import Report
from vitrine.training.report.text import to_markdown


def write_report(report: Report, files: ReportFolder) -> None:
    """Writes all files of a report; an earlier report in the folder is replaced.

    Args:
        report: the report.
        files: folder to write to, created if necessary.
    """
    files.remove()  # pictures that this report doesn't have must not remain
    write_text(files.numbers, json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    _draw(report, files)
    write_text(files.page, to_markdown(report))


def _draw(report: Report, files: ReportFolder) -> None:
    load_matplotlib()
    from vitrine.training.report.curves import draw_calibration, draw_roc
    from vitrine.training.run.plots import draw_confusion_matrix  # imported here because matplotlib loads slowly

    draw_confusion_matrix(report.evaluation, files.confusion_matrix)
    draw_calibration(report.reliability, report.calibration_error, files.calibration)
    draw_most_wrong(report.most_wrong, files.most_wrong)
    if groups := (*report.sources, *report.forms):
        draw_hardest(groups, files.handwriting)
    if report.novelty:
        draw_roc(report.novelty, files.roc)
        draw_least_novel(report.novelty, files.least_novel)
