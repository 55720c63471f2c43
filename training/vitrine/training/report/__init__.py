"""The report of a run: error, calibration, novelty detection, and the worst mistakes of its network.

`measurements` computes it with `handwriting`, `mistakes`, `novelty` and `roc`. `text`, `curves` and `contact_sheet`
present it, and `report_files` writes it into a folder.
"""

from vitrine.training.report.handwriting import FormsPlan
from vitrine.training.report.measurements import Report, StressPlan, make_report
from vitrine.training.report.novelty import NoveltyPlan
from vitrine.training.report.report_files import write_report
from vitrine.training.report.subject import Subject
from vitrine.training.report.text import stress_table, to_text

__all__ = [
    "FormsPlan",
    "NoveltyPlan",
    "Report",
    "StressPlan",
    "Subject",
    "make_report",
    "stress_table",
    "to_text",
    "write_report",
]
