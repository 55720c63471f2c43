"""Written forms are examples: as many of each digit, the same every time, and drawn anew when code changes."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vitrine.training import ConfigError, FitConfig, fit, load_dataset
from vitrine.training.examples import written_forms as module
from vitrine.training.examples.written_forms import drawing_code, form_names, written_forms
from vitrine.training.rendering.forms import FORMS


def test_each_digit_has_as_many_and_each_of_its_forms_a_fair_part() -> None:
    names = form_names(600)
    assert Counter(FORMS[name].digit for name in names) == dict.fromkeys(range(10), 60)
    for digit in range(10):
        counts = [names.count(name) for name, form in FORMS.items() if form.digit == digit]
        assert max(counts) - min(counts) <= 1


def test_they_know_their_form_and_have_originals_to_bend() -> None:
    made = written_forms(40, progress=False)
    assert made.sources is not None
    assert [FORMS[str(name)].digit for name in made.sources] == made.labels.tolist()
    assert made.originals is not None
    assert made.pixels.any(axis=(1, 2)).all()


def test_they_are_made_once_and_another_seed_makes_others(monkeypatch: pytest.MonkeyPatch) -> None:
    first, others = written_forms(20, progress=False), written_forms(20, seed=1, progress=False)
    monkeypatch.setattr(module, "draw_by_chance", lambda *_arguments: pytest.fail("drawn again"))
    np.testing.assert_array_equal(first.pixels, written_forms(20, progress=False).pixels)
    assert not np.array_equal(first.pixels, others.pixels)


def test_whatever_writes_and_draws_them_is_part_of_what_they_are_found_by() -> None:
    imported = set()
    for path in drawing_code():
        imported |= set(re.findall(r"^from vitrine\.training\.(\S+) import", path.read_text(), re.MULTILINE))
    assert imported <= {
        ".".join(path.with_suffix("").parts[-len(module.split(".")) :])
        for module in imported
        for path in drawing_code()
    }


def test_forms_of_other_classes_than_digits_are_refused(bars: Path, tmp_path: Path) -> None:
    (bars / "0").rename(bars / "up")
    with pytest.raises(ConfigError, match="forms are of digits, and bars has other classes: set forms to 0"):
        fit(load_dataset(bars, progress=False), FitConfig(forms=10), tmp_path / "run", progress=False)
