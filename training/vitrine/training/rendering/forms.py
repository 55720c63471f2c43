"""Forms of digits that the data lack or have too few of, as people in many countries write them.

Each form is a skeleton whose parts vary by chance within what people still read as that digit: how long the upstroke of
a 1 is, how far the tail of a 9 curls. `skeletons` writes it by hand, and `pens` draws it. It knows no pen and no image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from vitrine.training.rendering.skeletons import Piece, Skeleton, ellipse, write


@dataclass(frozen=True, slots=True)
class Form:
    """A way to write a digit."""

    digit: int
    """The digit that it is."""
    skeleton: Callable[[Generator], Skeleton]
    """Gives a skeleton of it by chance."""


def write_form(name: str, random: Generator) -> list[npt.NDArray[np.float64]]:
    """Writes a form of `FORMS`: strokes, each float64 (n, 2), x to the right and y downwards."""
    return write(FORMS[name].skeleton(random), random)


def _slashed_0(random: Generator) -> Skeleton:
    return [_oval(random), _slash(random)]


def _dotted_0(random: Generator) -> Skeleton:
    x, y = random.normal(0.3, 0.02), random.normal(0.5, 0.04)
    length = random.choice([0.0, random.uniform(0.03, 0.12)])
    dot = [[(x, y)]] if length == 0 else [[(x, y - length), (x + random.normal(0, 0.03), y + length)]]
    return [_oval(random, 0.27), dot]


def _curled_0(random: Generator) -> Skeleton:
    """An oval whose end runs on into its inside, or over its top."""
    oval = ellipse((0.3, 0.54), (0.3, 0.46), random.uniform(-80, -50), random.uniform(-375, -350), 14)
    inside = random.random() < 0.5
    end = (random.uniform(0.2, 0.35), random.uniform(0.2, 0.32)) if inside else (random.uniform(0.55, 0.7), 0.03)
    return [[[*oval, end]]]


def _oval(random: Generator, wide: float = 0.3) -> list[Piece]:
    """An oval in one stroke, either way round, closed or not quite."""
    begin, sweep = random.uniform(-130, -50), random.uniform(345, 380) * random.choice([-1, -1, -1, 1])
    return [ellipse((0.3, 0.5), (wide * random.uniform(0.85, 1.1), 0.5), begin, sweep, 13)]


def _slash(random: Generator) -> list[Piece]:
    """A slash from the upper right to the lower left, from well inside the oval to well beyond; a few lean back."""
    reach, rise = random.uniform(0.05, 0.42), random.uniform(0.2, 0.6)
    lean = 1 if random.random() < 0.88 else -1
    return [[(0.3 + lean * reach, 0.5 - rise), (0.3 - lean * reach, 0.5 + rise)]]


def _upstroke_1(random: Generator) -> Skeleton:
    return [[_upstroke(random), [_end_of(0.0, random)]]]


def _leaning_1(random: Generator) -> Skeleton:
    """A 1 with an upstroke that leans far to the right, so that its stem is a 7's."""
    lean = random.uniform(0.1, 0.35)
    return [[_leant(piece, lean) for piece in stroke] for stroke in _upstroke_1(random)]


def _foot_1(random: Generator) -> Skeleton:
    end = _end_of(0.0, random)
    return [[[(0.0, 0.0), end]], _foot(end, random)]


def _upstroke_and_foot_1(random: Generator) -> Skeleton:
    end = _end_of(0.0, random)
    return [[_upstroke(random), [end]], _foot(end, random)]


def _curled_1(random: Generator) -> Skeleton:
    """A 1 whose stem ends in a curl to the right, as that of a t; with or without an upstroke."""
    wide, low = random.uniform(0.08, 0.34), random.uniform(0.03, 0.16)
    stem: Piece = [(-0.02, 0.5), (0.0, 0.9), (0.35 * wide, 1.0), (wide, 1.0 - low)]
    return [[[(0.0, 0.0), *stem]]] if random.random() < 0.4 else [[_upstroke(random), stem]]


def _upstroke(random: Generator) -> Piece:
    """The upstroke of a 1, from a short flag to a line that begins near the bottom; always steeper than a 7's top."""
    fall = random.uniform(0.1, 0.7)
    width = fall * random.uniform(0.45, 1.5 - 0.9 * fall)
    sag = random.uniform(-0.02, 0.1) * fall
    return [(-width, fall), (-0.5 * width, 0.5 * fall + sag), (0.0, 0.0)]


def _foot(stem: tuple[float, float], random: Generator) -> list[Piece]:
    left, right = random.uniform(0.12, 0.32, 2)
    y = stem[1] + random.normal(0, 0.015)
    return [[(stem[0] - left, y), (stem[0] + right, y)]]


def _looped_2(random: Generator) -> Skeleton:
    """A 2 whose turn at the lower left is a loop, from narrow to wide."""
    wide, high = random.uniform(0.07, 0.16), random.uniform(0.06, 0.13)
    top = [(0.05, 0.22), (0.14, 0.05), (0.33, 0.0), (0.52, 0.1), (0.53, 0.3), (0.4, 0.55), (0.22, 0.8)]
    loop = [(0.1, 0.97), (0.02, 0.98), (0.0, 0.98 - high), (wide, 0.96 - 1.5 * high), (0.12 + wide, 0.93)]
    tail = [(0.42, 1.0), (random.uniform(0.6, 0.72), random.uniform(0.86, 0.96))]
    return [[[*top, *loop, *tail]]]


def _flat_3(random: Generator) -> Skeleton:
    """A 3 whose upper half is two straight lines, as a Z begins."""
    elbow = (random.uniform(0.18, 0.3), random.uniform(0.36, 0.46))
    bowl = [
        (0.42, elbow[1] + 0.02),
        (0.56, 0.58),
        (0.55, 0.8),
        (0.38, 0.98),
        (0.17, 1.0),
        (0.0, random.uniform(0.84, 0.94)),
    ]
    return [[[(0.02, random.normal(0.02, 0.02)), (0.52, 0.0)], [elbow], bowl]]


def _looped_3(random: Generator) -> Skeleton:
    """A 3 with a loop between its bows."""
    y, wide = random.uniform(0.4, 0.48), random.uniform(0.08, 0.16)
    bow = [(0.04, 0.14), (0.2, 0.0), (0.42, 0.04), (0.5, 0.2), (0.4, y - 0.06)]
    loop = [(0.28, y + 0.04), (0.28 - wide, y + 0.05), (0.28 - wide, y - 0.04), (0.3, y)]
    return [[[*bow, *loop, (0.48, 0.56), (0.54, 0.78), (0.38, 0.98), (0.16, 1.0), (0.0, random.uniform(0.82, 0.94))]]]


def _open_4(random: Generator) -> Skeleton:
    """A 4 of an angle and a stem that begins at any height on its right: nothing closes it on top."""
    bar = random.uniform(0.5, 0.68)
    stem = random.uniform(0.42, 0.52)
    reach = stem + random.uniform(0.06, 0.25)
    lower = random.uniform(-0.05, 0.35)
    corner = (random.uniform(0.0, 0.06), bar)
    return [
        [[(random.uniform(0.06, 0.2), 0.0), corner], [(reach, bar + random.normal(0, 0.03))]],
        [[(stem + random.uniform(0, 0.06), lower), (stem, 1.0)]],
    ]


def _leaning_4(random: Generator) -> Skeleton:
    """An open 4 that leans far to the right, its stem short."""
    return [[_leant(piece, random.uniform(0.25, 0.5)) for piece in stroke] for stroke in _open_4(random)]


def _rounded_4(random: Generator) -> Skeleton:
    """An open 4 whose angle is a curve, as a u begins."""
    bar, stem = random.uniform(0.48, 0.62), random.uniform(0.4, 0.5)
    left: Piece = [(random.uniform(0.02, 0.12), 0.0), (0.01, 0.6 * bar), (0.1, bar), (0.26, bar), (stem, 0.72 * bar)]
    top = random.uniform(-0.05, 0.2)
    if random.random() < 0.5:  # in one stroke
        return [[[*left, (stem + random.uniform(0.02, 0.1), top)], [_end_of(stem, random)]]]
    return [[left], [[(stem + 0.04, top), _end_of(stem, random)]]]


def _closed_4(random: Generator) -> Skeleton:
    """A 4 whose stem begins where its slope does."""
    bar, stem = random.uniform(0.58, 0.72), random.uniform(0.4, 0.5)
    slope: list[Piece] = [[(stem, 0.0), (0.0, bar)], [(stem + random.uniform(0.08, 0.25), bar)]]
    return [slope, [[(stem + random.normal(0, 0.015), random.uniform(0, 0.08)), (stem, 1.0)]]]


def _unlifted_4(random: Generator) -> Skeleton:
    """A 4 in one stroke: from the bar the pen runs up to the stem's beginning."""
    bar, stem = random.uniform(0.5, 0.62), random.uniform(0.38, 0.48)
    turn = (stem + random.uniform(0.04, 0.14), bar - random.uniform(0.06, 0.14))
    top = (stem + random.uniform(0.04, 0.12), random.uniform(0.05, 0.25))
    return [[[(random.uniform(0.08, 0.2), 0.0), (0.02, bar - 0.05)], [(0.3 * stem, bar), turn, top], [(stem, 1.0)]]]


def _end_of(stem: float, random: Generator) -> tuple[float, float]:
    return stem + float(random.normal(-0.01, 0.03)), 1.0


def _leant(piece: Piece, slant: float) -> Piece:
    return [(x + slant * (1 - y), y) for x, y in piece]


def _flagged_5(random: Generator) -> Skeleton:
    """A 5 whose top is a stroke of its own, which needn't touch the rest."""
    body: list[Piece] = [[(0.1, random.uniform(0.0, 0.08)), (0.06, 0.4)], _bowl_of_5(random)]
    begin, end = random.uniform(0.06, 0.16), random.uniform(0.48, 0.68)
    return [body, [[(begin, random.uniform(-0.02, 0.06)), (end, random.uniform(-0.06, 0.04))]]]


def _rounded_5(random: Generator) -> Skeleton:
    """A 5 in one stroke without a corner, as an S begins."""
    top = [(random.uniform(0.5, 0.6), 0.02), (0.3, 0.03), (0.14, 0.12), (0.08, 0.3), (0.14, 0.42)]
    return [[[*top, *_bowl_of_5(random)[1:]]]]


def _bowl_of_5(random: Generator) -> Piece:
    return [(0.22, 0.36), (0.42, 0.42), (0.54, 0.62), (0.48, 0.86), (0.28, 1.0), (0.0, random.uniform(0.84, 0.96))]


def _straight_6(random: Generator) -> Skeleton:
    """A 6 of a straight slope and a small round loop."""
    high = random.uniform(0.17, 0.24)
    loop = ellipse((0.24, 1 - high), (0.22, high), 180, -random.uniform(340, 375), 11)
    return [[[(random.uniform(0.3, 0.48), 0.0), (0.16, 0.36), *loop]]]


def _crossed_6(random: Generator) -> Skeleton:
    """A 6 whose loop ends across its stem, or doesn't reach it."""
    low = [(0.02, 0.68), (0.06, 0.92), (0.24, 1.0), (0.44, 0.9), (0.5, 0.7)]
    end = [(0.38, 0.56), (0.2, 0.58), (random.uniform(-0.12, 0.16), random.uniform(0.66, 0.8))]
    return [[[(random.uniform(0.26, 0.44), 0.0), (0.12, 0.34), *low, *end]]]


def _barred_7(random: Generator) -> Skeleton:
    foot = (random.uniform(0.1, 0.25), 1.0)
    middle = (0.5 * (0.55 + foot[0]), random.uniform(0.44, 0.56))
    left, right = random.uniform(0.12, 0.26, 2)
    tilt = random.normal(0.01, 0.03)
    bar: list[Piece] = [[(middle[0] - left, middle[1] + tilt), (middle[0] + right, middle[1] - tilt)]]
    return [_top_and_stem_of_7(foot, random, random.random() < 0.35), bar]


def _hooked_7(random: Generator) -> Skeleton:
    """A 7 whose top begins with a short line downwards."""
    return [_top_and_stem_of_7((random.uniform(0.1, 0.3), 1.0), random, True)]


def _rising_7(random: Generator) -> Skeleton:
    """A 7 without a bar whose top rises to the right, but is never as steep as the upstroke of a 1."""
    return [_top_and_stem_of_7((random.uniform(0.0, 0.3), 1.0), random, False, random.uniform(0.03, 0.12))]


def _top_and_stem_of_7(
    foot: tuple[float, float], random: Generator, hooked: bool, rise: float | None = None
) -> list[Piece]:
    begin = random.normal(0.03, 0.03) if rise is None else rise
    wave = random.normal(0, 0.03)
    top: Piece = [
        (0.2, 0.64 * begin + wave),
        (0.38, 0.32 * begin - wave),
        (0.56, random.normal(0.0, 0.02)),
    ]
    stem: Piece = [(0.28 + 0.5 * foot[0] + random.normal(0, 0.04), 0.5), foot]
    if random.random() < 0.2:  # the pen turns before it leaves the paper
        stem = [stem[0], (foot[0], 0.92), (foot[0] + random.uniform(0.06, 0.18), random.uniform(0.94, 1.0))]
    if hooked:
        return [[(random.uniform(-0.02, 0.04), random.uniform(0.08, 0.28)), (0.02, begin)], top, stem]
    return [[(0.0, begin), *top], stem]


def _stacked_8(random: Generator) -> Skeleton:
    """An 8 of two rings, one on the other, each a stroke of its own."""
    small, large = random.uniform(0.19, 0.24), random.uniform(0.25, 0.29)
    middle = 2 * small + random.normal(0, 0.02)
    upper = ellipse((0.3, small), (small * random.uniform(0.85, 1.1), small), random.uniform(-100, 100), -370, 11)
    lower = ellipse((0.3, middle + large), (large * random.uniform(0.85, 1.1), large), -90, -370, 11)
    return [[upper], [lower]]


def _open_8(random: Generator) -> Skeleton:
    """An 8 in one stroke that isn't closed at its upper right."""
    gap = random.uniform(0.06, 0.22)
    down = [(0.5 - gap / 2, 0.08), (0.3, 0.0), (0.12, 0.1), (0.14, 0.3), (0.32, 0.46), (0.5, 0.62), (0.52, 0.84)]
    up = [(0.32, 1.0), (0.1, 0.88), (0.1, 0.68), (0.28, 0.5), (0.46, 0.32), (0.52 + gap / 2, 0.12 - gap / 3)]
    return [[[*down, *up]]]


def _straight_9(random: Generator) -> Skeleton:
    """A 9 with a straight stem, at a corner with its ring."""
    ring, right, high = _ring_of_9(random)
    return [
        [
            ring,
            [(right + random.normal(0, 0.02), random.uniform(0, 0.4) * high)],
            [(right + random.normal(-0.03, 0.04), 1.0)],
        ]
    ]


def _curled_9(random: Generator) -> Skeleton:
    """A 9 whose tail curls to the left, as that of a g."""
    ring, right, high = _ring_of_9(random, 0.2, 0.26)
    left, up = random.uniform(-0.05, 0.2), random.uniform(0.78, 0.97)
    tail = [
        (right, high + 0.16),
        (right - 0.02, 0.78),
        (right - 0.13, 0.96),
        (0.5 * (left + right) - 0.08, 1.0),
        (left, up),
    ]
    return [[ring, [(right, 0.6 * high)], tail]]


def _looped_9(random: Generator) -> Skeleton:
    """A 9 whose tail turns to the left and crosses the stem on its way back up, as that of a joined-up g."""
    ring, right, high = _ring_of_9(random, 0.17, 0.22)
    left, cross = random.uniform(0.02, 0.18), random.uniform(0.62, 0.76)
    tail = [(right, high + 0.18), (right - 0.02, 0.8), (right - 0.12, 0.97), (left + 0.06, 1.0), (left, 0.9)]
    back = [(left + 0.14, cross + 0.08), (right, cross), (right + random.uniform(0.1, 0.25), cross - 0.1)]
    return [[ring, [(right, 0.6 * high)], [*tail, *back]]]


def _open_9(random: Generator) -> Skeleton:
    """A 9 in one stroke whose ring isn't closed, so that it runs as an S does."""
    begin = (random.uniform(0.46, 0.58), random.uniform(0.1, 0.24))
    ring = [(0.42, 0.01), (0.2, 0.02), (0.04, 0.16), (0.08, 0.34), (0.28, 0.4), (random.uniform(0.44, 0.52), 0.26)]
    tail = [(0.54, 0.42), (0.52, 0.7), (0.4, 0.92), (random.uniform(0.1, 0.3), random.uniform(0.94, 1.02))]
    return [[[begin, *ring, *tail]]]


def _ring_of_9(random: Generator, least: float = 0.2, most: float = 0.29) -> tuple[Piece, float, float]:
    """The ring of a 9 from its right, counter-clockwise; with its right end and its height."""
    half, wide = random.uniform(least, most), random.uniform(0.22, 0.28)
    right = 0.26 + wide
    begin = random.uniform(-55, -15)
    return ellipse((0.26, half), (wide, half), begin, -random.uniform(305, 335) - begin - 30, 12), right, 2 * half


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "0 with slash": Form(0, _slashed_0),
        "0 with dot": Form(0, _dotted_0),
        "0 curled": Form(0, _curled_0),
        "1 with curl": Form(1, _curled_1),
        "1 with upstroke": Form(1, _upstroke_1),
        "1 leaning right": Form(1, _leaning_1),
        "1 with foot": Form(1, _foot_1),
        "1 with upstroke and foot": Form(1, _upstroke_and_foot_1),
        "2 with loop": Form(2, _looped_2),
        "3 with flat top": Form(3, _flat_3),
        "3 with loop": Form(3, _looped_3),
        "4 open": Form(4, _open_4),
        "4 leaning right": Form(4, _leaning_4),
        "4 rounded": Form(4, _rounded_4),
        "4 closed": Form(4, _closed_4),
        "4 in one stroke": Form(4, _unlifted_4),
        "5 with flag": Form(5, _flagged_5),
        "5 rounded": Form(5, _rounded_5),
        "6 straight": Form(6, _straight_6),
        "6 crossed": Form(6, _crossed_6),
        "7 with bar": Form(7, _barred_7),
        "7 with hook": Form(7, _hooked_7),
        "7 with rising top": Form(7, _rising_7),
        "8 of two rings": Form(8, _stacked_8),
        "8 open": Form(8, _open_8),
        "9 open": Form(9, _open_9),
        "9 with straight tail": Form(9, _straight_9),
        "9 with curled tail": Form(9, _curled_9),
        "9 with looped tail": Form(9, _looped_9),
    }
)
"""All forms by their names, in the order of their digits."""
