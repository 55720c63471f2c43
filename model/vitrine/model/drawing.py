"""Loads matplotlib for drawing into files, whatever the environment says about windows. It draws nothing itself."""

import os
import sys
import threading
from contextlib import suppress

BACKEND = "MPLBACKEND"
"""The variable that names matplotlib's way to show figures: notebooks set it for every program that they start."""

_LOADING = threading.Lock()


def load_matplotlib() -> None:
    """Imports matplotlib. A backend that isn't installed here is no reason to fail: figures are written to files.

    matplotlib refuses to be imported where `MPLBACKEND` names a backend that it can't find. The name is hidden from it
    during the import, and set afterwards if it can be, so that a notebook's own figures appear as always.

    Raises:
        ImportError: matplotlib isn't installed.
    """
    with _LOADING:
        if sys.modules.get("matplotlib"):
            return
        backend = os.environ.pop(BACKEND, None)
        try:
            import matplotlib as mpl
        finally:
            if backend is not None:
                os.environ[BACKEND] = backend
        if backend:
            with suppress(ValueError):  # it isn't installed, or isn't one
                mpl.rcParams["backend"] = backend
