"""Characters of other scripts are written whole, a little differently each time."""

import numpy as np
import pytest

from vitrine.training.pens import draw_by_chance
from vitrine.training.rendering.letters import LETTERS
from vitrine.training.rendering.scripts import CHARACTERS, CHINESE, KANA
from vitrine.training.rendering.skeletons import write


def test_there_are_kana_and_chinese_characters_and_no_letters() -> None:
    assert len(CHARACTERS) == len(KANA) + len(CHINESE) > 30
    assert not set(CHARACTERS) & set(LETTERS)


@pytest.mark.parametrize("character", CHARACTERS)
def test_a_character_is_written_in_strokes_of_points_and_drawn(character: str) -> None:
    random = np.random.default_rng(2)
    first, second = (write(CHARACTERS[character], random) for _ in range(2))
    assert [len(stroke) for stroke in first] == [len(stroke) for stroke in second]
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert 0.6 < np.ptp(np.concatenate(first)[:, 1]) < 1.5
    assert draw_by_chance(first, random).max() > 100
