"""Smooth lines through points. It knows neither pens nor characters."""

import numpy as np
import numpy.typing as npt


def smooth(points: npt.NDArray[np.float64], steps: int = 8) -> npt.NDArray[np.float64]:
    """Smooth line through all points with `steps` segments between neighbours: float64 (N, 2) to float64 (M, 2).

    E. Catmull and R. Rom, "A class of local interpolating splines", Computer Aided Geometric Design (1974).
    """
    padded = np.concatenate((points[:1], points, points[-1:]))
    before, here, there, after = (padded[start : start + len(points) - 1, None] for start in range(4))  # (N - 1, 1, 2)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]  # (steps, 1)
    line = (
        2 * here
        + (there - before) * t
        + (2 * before - 5 * here + 4 * there - after) * t**2
        + (3 * here - before - 3 * there + after) * t**3
    ) / 2
    return np.concatenate((line.reshape(-1, 2), points[-1:]))
