"""Damages messages at random."""

import random


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The same bytes, whole, cut, or with one or some of them changed."""
    changed = bytearray(data)
    match chance.randrange(4):
        case 0:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        case 1:
            changed = changed[: chance.randrange(len(changed))]
        case 2:
            at = chance.randrange(len(changed))
            changed[at : at + 30] = chance.randbytes(len(changed[at : at + 30]))
    return bytes(changed)
