"""Python's garbage collection in a process that serves: seldom, and never among what stays."""

import gc

THRESHOLDS = 50_000, 4, 4
"""New objects before a collection of the youngest, and collections of each generation before one of the next.

Python 3.11 collects after 700 new objects, which a dozen calls make. Reference counting frees a call's objects; but
where thousands of calls were under way, collections took a quarter of the CPU time.
"""


def collect_seldom() -> None:
    """Leaves the objects that are loaded by now out of garbage collection, and makes it rare.

    To be called when the models are loaded.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
