"""The letters of each set, and the letters with a digit's shape, which would have a disputable label.

It knows neither fonts nor pens.
"""

from collections.abc import Mapping
from string import ascii_letters

TWINS = "BIOSZbgloqsz"
"""Latin letters that many people write exactly as a digit; they are never counter-examples."""

LOOK_ALIKES: Mapping[str, str] = {
    "0": "DOQo",  # round and closed; Q has a short tail, and D two corners at most
    "1": "IJijl",  # a single stroke; dots and hooks are often omitted in handwriting
    "2": "Zz",  # many people write a 2 with three straight strokes
    "4": "Yy",  # a 4 with an open top
    "5": "Ss",  # a 5 in one stroke
    "6": "Gb",  # b is a handwritten 6, and G a 6 with an open loop
    "8": "B",  # two loops on top of each other
    "9": "agq",  # a loop with a stem to its right; in some fonts g looks like an 8, and a like a 2
}
"""Latin letters that are left out of all sets but their own, by the digit they look like: chosen by shape alone.

Preparation removes a letter's size, so small and capital letters count alike. Letters that look like a mirrored or
rotated digit stay in: nobody reads d, P or h as a digit.
"""

GREEK_LOOK_ALIKES: Mapping[str, str] = {"0": "ΘΦθσφ", "1": "Λ", "3": "ξ"}
"""Greek letters by the digit whose shape they have: a 0 with a slash or a curl, a 1 with a long upstroke."""

LETTERS = "".join(letter for letter in ascii_letters if not any(letter in alike for alike in LOOK_ALIKES.values()))
"""The remaining Latin letters."""

CAPITALS = "".join(letter for letter in LETTERS if letter.isupper())
SMALL = "".join(letter for letter in LETTERS if letter.islower())

NEAR = "".join(letter for letter in ascii_letters if letter not in LETTERS + TWINS)
"""Latin letters that look like a digit and aren't its twin: careful writers make them distinct."""

NEAR_GREEK = "".join(GREEK_LOOK_ALIKES.values())
"""The same of the Greek letters: for evaluation alone, because people write a 0 with a slash."""

GREEK = "ΓΔΞΠΣΨΩαβγδεζηκλμνπρτυχψω"
"""Greek letters that look neither like a digit nor, in print, like one of `TWINS`."""

CYRILLIC = "БДЖИЙКЛМНПТХЦШЩЪЫЮЯжийклмнптхцшщъыюя"
"""Cyrillic letters of which the same is true."""

EASTERN = "אגהחלמעפצקשת" + "ԱԲԳԺԽԿՀՄՇՊՌՔ" + "بتثجسشصضطكلن"
"""Hebrew, Armenian and Arabic letters of which the same is true: for evaluation."""
