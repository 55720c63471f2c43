"""Broken HTTP/2, and floods of valid frames: the server may end the connection, or ignore what it doesn't know."""

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from endurance.fuzzing import frames as h2
from endurance.fuzzing.connections import send_and_ping
from endurance.fuzzing.corpus import CLASSIFY, STREAM, messages
from endurance.fuzzing.outcomes import Outcome

Attack: TypeAlias = Callable[[Random], bytes]
"""Makes the bytes of one connection."""

FLOOD_FRAMES = 2000
"""Frames, or calls, in a flood."""

FLOOD_SECONDS = 30
"""Time for the server to survive a flood."""

REACTION_SECONDS = 0.5
"""Time to wait for a reaction to malformed bytes, which may never come."""


def noise(rng: Random) -> bytes:
    """Random bytes, some behind the beginning of another protocol."""
    beginnings = (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        h2.PREFACE[:13],
        b"",
    )
    return rng.choice(beginnings) + rng.randbytes(rng.randint(0, 4096))


def random_frames(rng: Random) -> bytes:
    """A valid greeting, then frames of any kind with any content."""
    frames = (
        h2.frame(
            rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 1, 2, 3, 2**31)), rng.randbytes(rng.randrange(64))
        )
        for _ in range(rng.randint(1, 20))
    )
    return h2.greeting() + b"".join(frames)


def wrong_lengths(rng: Random) -> bytes:
    """A frame that is longer or shorter than its header says."""
    length = rng.choice((0, 1, 4, 5, 7, 9, h2.LARGEST_FRAME, h2.LARGEST_FRAME + 1, 2**24 - 1))
    return h2.greeting() + h2.frame(rng.randrange(10), rng.randrange(16), 1, rng.randbytes(rng.randrange(64)), length)


def flipped_bits(rng: Random) -> bytes:
    """A valid call with bits flipped anywhere behind the preface."""
    headers = h2.headers_frame(h2.call_headers(CLASSIFY), 1)
    call = headers + h2.data_frames(h2.grpc_message(rng.choice(messages()[CLASSIFY])), 1)
    body = bytearray(h2.greeting() + call)
    for _ in range(rng.randint(1, 8)):
        body[rng.randrange(len(h2.PREFACE), len(body))] ^= 1 << rng.randrange(8)
    return bytes(body)


def random_headers(rng: Random) -> bytes:
    """A header block that no HPACK encoder writes."""
    return h2.greeting() + h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, rng.randbytes(rng.randrange(1, 512)))


def oversized_headers(rng: Random) -> bytes:
    """Headers larger than any server accepts."""
    headers = [*h2.call_headers(CLASSIFY), *((f"x-{i}", "v" * 4000) for i in range(rng.randint(2, 40)))]
    whole = h2.headers_frame(headers, 1)[h2.HEADER_BYTES :]
    first, rest = whole[: h2.LARGEST_FRAME], whole[h2.LARGEST_FRAME :]
    parts = [rest[at : at + h2.LARGEST_FRAME] for at in range(0, len(rest), h2.LARGEST_FRAME)]
    continued = [h2.frame(h2.CONTINUATION, 0, 1, part) for part in parts]
    end = h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1)
    return h2.greeting() + h2.frame(h2.HEADERS, 0, 1, first) + b"".join(continued) + end


def settings_flood(rng: Random) -> bytes:
    """SETTINGS, each of which requires an acknowledgement; some hold impossible values (CVE-2019-9515)."""
    setting = rng.randrange(8).to_bytes(2, "big") + rng.getrandbits(32).to_bytes(4, "big")
    return h2.greeting() + h2.frame(h2.SETTINGS, payload=rng.choice((b"", setting))) * FLOOD_FRAMES


def ping_flood(rng: Random) -> bytes:
    """PINGs, each of which requires an answer (CVE-2019-9512)."""
    return h2.greeting() + h2.frame(h2.PING, payload=rng.randbytes(8)) * FLOOD_FRAMES


def rapid_reset(rng: Random) -> bytes:
    """Calls that are opened and cancelled at once (CVE-2023-44487)."""
    reset = h2.CANCEL.to_bytes(4, "big")
    streams = range(1, 2 * FLOOD_FRAMES, 2)
    path = rng.choice((CLASSIFY, STREAM))
    return h2.greeting() + b"".join(
        h2.headers_frame(h2.call_headers(path), stream) + h2.frame(h2.RST_STREAM, 0, stream, reset)
        for stream in streams
    )


def continuation_flood(rng: Random) -> bytes:
    """Headers that never end (CVE-2024-27316)."""
    more = h2.frame(h2.CONTINUATION, 0, 1, rng.choice((b"", rng.randbytes(64), b"\x00\x01a\x01b" * 50)))
    return h2.greeting() + h2.headers_frame(h2.call_headers(CLASSIFY), 1, flags=0) + more * FLOOD_FRAMES


def empty_data_flood(_: Random) -> bytes:
    """DATA frames without data (CVE-2019-9518)."""
    return h2.greeting() + h2.headers_frame(h2.call_headers(STREAM), 1) + h2.frame(h2.DATA, 0, 1) * FLOOD_FRAMES


def window_flood(rng: Random) -> bytes:
    """Window updates by nothing, or beyond the largest window."""
    step = rng.choice((0, 1, 2**31 - 1)).to_bytes(4, "big")
    return h2.greeting() + h2.frame(h2.WINDOW_UPDATE, 0, 0, step) * FLOOD_FRAMES


MALFORMED: tuple[Attack, ...] = (
    noise,
    random_frames,
    wrong_lengths,
    flipped_bits,
    random_headers,
    oversized_headers,
)
FLOODS: tuple[Attack, ...] = (
    settings_flood,
    ping_flood,
    rapid_reset,
    continuation_flood,
    empty_data_flood,
    window_flood,
)


async def send_malformed(target: str, rng: Random) -> Outcome:
    """One connection of malformed bytes."""
    return await send_and_ping(target, rng.choice(MALFORMED)(rng), REACTION_SECONDS)


async def send_flood(target: str, rng: Random) -> Outcome:
    """One connection with a flood; it counts as one message."""
    return await send_flood_of(rng.choice(FLOODS), target, rng)


async def send_flood_of(flood: Attack, target: str, rng: Random) -> Outcome:
    """One connection with this flood."""
    return await send_and_ping(target, flood(rng), FLOOD_SECONDS)
