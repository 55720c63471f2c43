"""Python's search for garbage, in a process that serves: rarely, and not among what stays."""

import gc

NEW_OBJECTS = 50_000
"""Objects that are made, and still there, before the next search. By default 700: a search for every dozen calls.

A call's objects go without a search. Where thousands of calls are under way, searching took a quarter of the CPU time.
"""


def search_rarely() -> None:
    """Lets what is loaded by now out of all searches, and makes them rare. To be called when the models are loaded."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
