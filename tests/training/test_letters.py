"""Letters are written whole, a little differently each time, in the same lines as digits."""

from string import ascii_lowercase, ascii_uppercase

import numpy as np
import pytest

from vitrine.training.pens import draw_by_chance
from vitrine.training.rendering.letters import CAPITALS, GREEK, LETTERS, SMALL, write_letter
from vitrine.training.rendering.nondigits import GREEK_LOOK_ALIKES, LOOK_ALIKES


def test_every_latin_letter_is_there_and_no_letter_twice() -> None:
    assert "".join(CAPITALS) == ascii_uppercase
    assert "".join(SMALL) == ascii_lowercase
    assert len(LETTERS) == len(CAPITALS) + len(SMALL) + len(GREEK)
    assert not set(GREEK) & set(ascii_uppercase + ascii_lowercase)


def test_all_look_alikes_are_letters_and_leave_others() -> None:
    alike = {letter for letters in (*LOOK_ALIKES.values(), *GREEK_LOOK_ALIKES.values()) for letter in letters}
    assert alike < set(LETTERS)
    assert len(LETTERS) - len(alike) > 40


@pytest.mark.parametrize("letter", LETTERS)
def test_a_letter_is_written_in_strokes_of_points_and_drawn(letter: str) -> None:
    random = np.random.default_rng(5)
    for _ in range(10):
        strokes = write_letter(letter, random)
        points = np.concatenate(strokes)
        assert np.isfinite(points).all()
        assert 0.75 < np.ptp(points[:, 1]) < 1.5
        assert draw_by_chance(strokes, random).max() > 100


@pytest.mark.parametrize("letter", LETTERS)
def test_the_same_random_numbers_write_the_same_letter(letter: str) -> None:
    first, second, other = (np.concatenate(write_letter(letter, np.random.default_rng(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert first.shape != other.shape or (first != other).any()
