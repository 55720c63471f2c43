"""The part of a model card on people: whose handwriting the model has seen, and whose not.

It knows data sets by their names, and no images.
"""

from collections.abc import Mapping

from vitrine.model import DIGITS
from vitrine.training.markdown import plain_markdown
from vitrine.training.network.evaluate import Evaluation, percent
from vitrine.training.rendering.forms import FORMS

_CENSUS = "employees of the United States Census Bureau and students of a high school there, about 1990 (MNIST)"
_INSTITUTIONS = (
    "people at fourteen institutions in the early 1990s, who wrote on tablets (UNIPEN). A program draws their strokes "
    "with pens of its own"
)

SEEN: Mapping[str, tuple[str, ...]] = {
    "digits": ("13 people, who wrote both the training and the test images",),
    "mnist": (_CENSUS,),
    "unipen": (_INSTITUTIONS,),
    "handwriting": (_CENSUS, _INSTITUTIONS),
}
"""The people behind each built-in data set."""

NOT_SEEN = (
    "children who learn to write, and people whose hands tremble",
    "handwriting from before 1990",
    "digits of other scripts, such as Arabic-Indic or Devanagari ones, which aren't among the ten",
    "digits joined to their neighbours",
)
"""What none of the built-in data sets has."""


def whose_handwriting(source: str, classes: tuple[str, ...], forms: bool, by_source: Mapping[str, Evaluation]) -> str:
    """A section in Markdown: the people, what is missing, and the accuracy by source where there are several.

    Args:
        source: the data set's source, as for `load_dataset`.
        classes: the model's classes.
        forms: whether it learnt from written forms of digits, too.
        by_source: evaluation of the test images of each source; empty for a single one.
    """
    if source not in SEEN or classes != DIGITS:
        return "The people are those who wrote or drew the folder's images. Expect a larger error on those of others."
    made = f"nobody: {len(FORMS)} forms of digits that data have few of, such as a 0 with a slash, written by a program"
    seen, unseen = _list([*SEEN[source], *([made] if forms else [])]), _list(NOT_SEEN)
    return "\n\n".join(
        (
            f"The model has seen digits of:\n\n{seen}",
            f"It has not seen:\n\n{unseen}",
            "Age, country and writing hand aren't recorded with the images, so nothing is known of differences between "
            "them. Measure on your own writers before you rely on it: `vitrine-train evaluate RUN --dataset FOLDER`.",
            *([_table(by_source)] if by_source else []),
        )
    )


def _list(items: tuple[str, ...] | list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(by_source: Mapping[str, Evaluation]) -> str:
    rows = [
        f"| {plain_markdown(name)} | {evaluation.count:,} | {percent(evaluation.accuracy)} |"
        for name, evaluation in by_source.items()
    ]
    return "\n".join(("| source | test images | recognised |", "| --- | ---: | ---: |", *rows))
