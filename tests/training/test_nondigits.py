"""The made images that show no digit: the same from the same seed, different for training and measuring, no digits."""

from dataclasses import replace
from pathlib import Path
from string import ascii_letters

import numpy as np
import numpy.typing as npt
import pytest

from vitrine.training import ConfigError
from vitrine.training.pens import COARSE_SIDES, SIDES
from vitrine.training.rendering.nondigits import (
    EXPOSURE_SETS,
    GREEK_LOOK_ALIKES,
    LETTERS,
    LOOK_ALIKE_SETS,
    LOOK_ALIKES,
    NON_DIGITS,
    TWINS,
    Part,
    draw_non_digits,
    make_non_digits,
    printed_digits,
)
from vitrine.training.rendering.nondigits.fonts import (
    EVALUATION_FONTS,
    EXPOSED_FAMILIES,
    EXPOSURE_FONTS,
    bundled_fonts,
    font_family,
    fonts_with,
    has_latin_characters,
)
from vitrine.training.rendering.nondigits.sets import kit_for
from vitrine.training.rendering.nondigits.shapes import EVALUATION_SHAPES, EXPOSURE_SHAPES

EVALUATION_SETS = (*NON_DIGITS, *LOOK_ALIKE_SETS)
EVERY_PART: tuple[Part, ...] = ("exposure", "evaluation")
SETS = [(name, part) for part in EVERY_PART for name in (EVALUATION_SETS if part == "evaluation" else EXPOSURE_SETS)]


@pytest.mark.parametrize(("name", "part"), SETS)
def test_a_set_comes_from_its_seed_whatever_its_size(name: str, part: Part) -> None:
    pixels = make_non_digits(name, 12, 3, part=part)
    assert pixels.shape == (12, 18, 18)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[:5], make_non_digits(name, 5, 3, part=part))
    drawn = list(draw_non_digits(name, 12, 3, part=part))
    assert any(not np.array_equal(*pair) for pair in zip(drawn, draw_non_digits(name, 12, 4, part=part), strict=True))
    assert all(image.dtype == np.uint8 and image.ndim == 2 for image in drawn)


@pytest.mark.parametrize("name", EXPOSURE_SETS)
def test_the_two_parts_share_no_image(name: str) -> None:
    exposed, measured = ({image.tobytes() for image in draw_non_digits(name, 40, 0, part=part)} for part in EVERY_PART)
    assert len(exposed) == len(measured) == 40
    assert not exposed & measured


def test_the_two_parts_share_no_font() -> None:
    for names, exposed in ((EXPOSURE_FONTS, True), (EVALUATION_FONTS, False)):
        families = [font_family(path) for path in bundled_fonts(names)]
        assert all(family.startswith(EXPOSED_FAMILIES) == exposed for family in families), families


def test_every_bundled_font_writes_the_letters_that_are_needed() -> None:
    assert all(has_latin_characters(font) for font in bundled_fonts(EXPOSURE_FONTS + EVALUATION_FONTS))
    assert not has_latin_characters(bundled_fonts(("LastResortHE-Regular",))[0])


def test_no_network_is_exposed_to_faces_and_to_half_of_the_shapes() -> None:
    with pytest.raises(ConfigError, match="no set faces for exposure"):
        make_non_digits("faces", 1, 0, part="exposure")
    assert len(EVALUATION_SHAPES) == 2 * len(EXPOSURE_SHAPES)
    assert kit_for("exposure").shapes == EXPOSURE_SHAPES


def test_letters_with_a_digits_shape_are_left_out_unless_all_are_wanted() -> None:
    assert set("OoQDIlijZzSsBbqgG") <= set("".join(LOOK_ALIKES.values()))
    assert sorted(LETTERS + "".join(LOOK_ALIKES.values())) == sorted(ascii_letters)
    for part in EVERY_PART:
        assert kit_for(part).letters == LETTERS
    assert kit_for("evaluation", look_alikes=True).letters == ascii_letters
    kept, all_of_them = (
        make_non_digits("letters", 40, 0, part="evaluation", look_alikes=look_alikes) for look_alikes in (False, True)
    )
    assert not np.array_equal(kept, all_of_them)


def test_twins_of_digits_are_no_counter_examples_and_have_a_set_of_their_own() -> None:
    """The twins of the Greek and Cyrillic letters look the same as the Latin ones in print."""
    assert set("IlOoSsZzBbqg") == set(TWINS) <= set("".join(LOOK_ALIKES.values()))
    exposed = kit_for("exposure")
    twins = {*TWINS, *"ΙΟΒΖοςΟІЅОоЗзЭэЧчбвВьЬуУ", *"".join(GREEK_LOOK_ALIKES.values())}
    assert not twins & {*exposed.letters, *exposed.near_twins, *exposed.greek, *exposed.scripts}
    assert set(TWINS) | set(exposed.near_twins) == set("".join(LOOK_ALIKES.values()))
    with pytest.raises(ConfigError, match="no set twins for exposure"):
        make_non_digits("twins", 1, 0, part="exposure")


def test_written_letters_have_the_lines_of_a_pen_and_no_grey_paper() -> None:
    """A network must not tell letters from digits by the page they are on."""
    for name in ("written_letters", "written_greek", "written_scripts"):
        images = list(draw_non_digits(name, 20, 0, part="exposure"))
        assert all(image.max() == 255 for image in images)
        assert all(COARSE_SIDES[0] <= len(image) <= SIDES[1] for image in images)


def test_a_letter_has_as_many_written_forms_as_fonts_and_its_own_skeleton() -> None:
    exposed, measured = kit_for("exposure"), kit_for("evaluation")
    assert set(exposed.skeletons) > set(exposed.letters)
    assert not measured.skeletons
    assert all(exposed.fonts_for(letter) for letter in exposed.letters + exposed.greek)
    assert all(measured.fonts_for(letter) for letter in measured.letters + measured.greek + measured.scripts)
    assert all(exposed.fonts_for(letter) or letter in exposed.skeletons for letter in exposed.scripts)


@pytest.mark.parametrize("part", EVERY_PART)
def test_an_empty_page_has_no_ink_once_it_is_prepared(part: Part) -> None:
    pixels = make_non_digits("blank", 150, 0, part=part)
    assert (~pixels.any(axis=(1, 2))).mean() > 0.9


@pytest.mark.parametrize("name", [name for name in NON_DIGITS if name not in ("blank", "noise")])
def test_what_is_drawn_is_still_there_once_it_is_prepared(name: str) -> None:
    assert make_non_digits(name, 30, 0, part="evaluation").any(axis=(1, 2)).all()


def test_a_number_is_prepared_with_all_of_its_digits() -> None:
    """One digit is higher than wide; two that touch are wider, and so is what is left of them."""

    def widths(pixels: npt.NDArray[np.uint8]) -> float:
        return float((pixels > 100).any(axis=1).sum(axis=1).mean())

    digits, _ = printed_digits(40, 0, "evaluation")
    assert widths(make_non_digits("several_digits", 40, 0, part="evaluation")) > widths(digits) + 3


def test_printed_digits_are_each_as_frequent_and_in_the_fonts_of_their_part() -> None:
    pixels, labels = printed_digits(30, 0, "exposure")
    assert pixels.shape == (30, 18, 18)
    assert np.bincount(labels).tolist() == [3] * 10
    np.testing.assert_array_equal(pixels, printed_digits(30, 0, "exposure")[0])
    assert not np.array_equal(pixels, printed_digits(30, 0, "evaluation")[0])


def test_a_folder_of_fonts_takes_the_place_of_the_bundled_ones_but_for_those_of_the_exposure(tmp_path: Path) -> None:
    exposed, screen, symbols = bundled_fonts(("cmr10", "DejaVuSerif", "LastResortHE-Regular"))
    for font in (exposed, screen, symbols):
        (tmp_path / "some").mkdir(exist_ok=True)
        (tmp_path / "some" / font.name).write_bytes(font.read_bytes())
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    assert [path.name for path in kit_for("evaluation", tmp_path).fonts] == ["DejaVuSerif.ttf"]
    assert make_non_digits("letters", 2, 0, part="evaluation", fonts=tmp_path).any()


def test_fonts_without_greek_letters_leave_those_to_the_bundled_ones() -> None:
    (font,) = bundled_fonts(("DejaVuSansDisplay",))
    assert not fonts_with("λ", (font,))
    assert fonts_with("λ", kit_for("evaluation").fonts) == kit_for("evaluation").fonts
    kit = replace(kit_for("evaluation"), fonts=(font,))
    assert kit.fonts_for("λ") == kit.spare_fonts


def test_a_folder_without_a_usable_font_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path} has no font with Latin letters"):
        make_non_digits("letters", 1, 0, part="evaluation", fonts=tmp_path)
