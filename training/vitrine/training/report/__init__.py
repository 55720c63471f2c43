"""The report of a run: how good its network is, how sure, what it takes for no digit, and where it is most wrong.

`measure` has all of it, with `mistakes`, `novelty` and `roc`; `text`, `figures` and `contact_sheet` show it, and
`writing` puts it into a folder.
"""

from vitrine.training.report.measurements import Report, StressPlan, make_report
from vitrine.training.report.novelty import NoveltyPlan
from vitrine.training.report.report_files import write_report
from vitrine.training.report.text import stress_table, to_text

__all__ = [
    "NoveltyPlan",
    "Report",
    "StressPlan",
    "make_report",
    "stress_table",
    "to_text",
    "write_report",
]
