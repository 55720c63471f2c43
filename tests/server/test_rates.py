"""Rate limits: each caller gets its images a second, and one that sends more harms nobody else."""

import hashlib
from pathlib import Path

import pytest
from support.artifacts import random_pixels
from support.serving import running_server

from vitrine.client import Client, LimitError
from vitrine.server.errors import RateExceeded
from vitrine.server.inference.rate_limit import MAX_CALLERS, RateLimiter, caller_at


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused_for(rates: RateLimiter, caller: str, images: int) -> float:
    """For how many seconds a caller is refused; 0: it is let in."""
    try:
        rates.take(caller, images)
    except RateExceeded as error:
        return error.retry_after
    return 0.0


def test_a_caller_may_send_its_burst_at_once_and_then_its_rate() -> None:
    clock = Clock()
    rates = RateLimiter(10, burst=30, clock=clock)
    rates.take("alice", 30)
    assert refused_for(rates, "alice", 5) == pytest.approx(0.5)
    clock.now += 0.4
    assert refused_for(rates, "alice", 5) == pytest.approx(0.1)  # what is refused doesn't count
    clock.now += 0.125
    assert refused_for(rates, "alice", 5) == 0
    clock.now += 1000  # quiet for long: a burst, and no more
    assert refused_for(rates, "alice", 30) == 0
    assert refused_for(rates, "alice", 1) == pytest.approx(0.1)


def test_callers_do_not_share_their_rates() -> None:
    rates = RateLimiter(1, burst=1, clock=Clock())
    rates.take("alice", 1)
    rates.take("bob", 1)
    assert refused_for(rates, "alice", 1) > 0


def test_quiet_callers_are_forgotten_and_busy_ones_are_not() -> None:
    clock = Clock()
    rates = RateLimiter(1, burst=2, clock=clock)
    for number in range(MAX_CALLERS - 1):
        rates.take(f"quiet {number}", 1)
    clock.now += 2
    for _ in range(2):
        rates.take("busy", 1)
    rates.take("one more", 1)
    assert len(rates._buckets) == 2
    assert refused_for(rates, "busy", 1) > 0


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:db8:1:2:3:4:5:6]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]", "2001:db8:1:2::/64"),
        ("[fe80::1%eth0]", "fe80::/64"),
        ("[::ffff:192.0.2.1]", "192.0.2.1"),
        ("", ""),
    ],
)
def test_who_has_a_network_of_addresses_is_one_caller(host: str, caller: str) -> None:
    assert caller_at(host) == caller


def test_one_caller_over_its_rate_is_refused_and_told_when_to_come_again_and_another_is_answered(
    tiny_artifact: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    digests = {name: hashlib.sha256(f"{name}-token".encode()).hexdigest() for name in ("alice", "bob")}
    tokens.write_text("".join(f"{name} {digest} predict\n" for name, digest in digests.items()))
    pixels = list(random_pixels(16))
    options = ("--tokens", tokens, "--caller-rate", "0.001", "--max-images", "16")
    with (
        running_server(tiny_artifact, *options) as server,
        Client(server.target, token="alice-token") as alice,
        Client(server.target, token="bob-token") as bob,
    ):
        assert len(list(alice.classify_many(pixels, activations=None, preparation="none"))) == 16
        with pytest.raises(LimitError, match=r"alice may send 0\.001 images a second") as caught:
            alice.classify(pixels[0], preparation="none", activations=None)
        assert caught.value.reason == "RATE_EXCEEDED"
        assert caught.value.retry_after == pytest.approx(1000, rel=0.2)
        assert bob.classify(pixels[0], preparation="none", activations=None).digit in range(10)


def test_without_tokens_callers_are_told_apart_by_their_addresses(tiny_artifact: Path) -> None:
    pixels = random_pixels(1)[0]
    options = ("--host", "localhost", "--caller-rate", "0.001", "--max-images", "1")
    with (
        running_server(tiny_artifact, *options) as server,
        Client(server.target) as one,
        Client(server.target) as other,
    ):
        one.classify(pixels, preparation="none", activations=None)
        with pytest.raises(LimitError, match=r"(127\.0\.0\.1|::/64) may send"):
            other.classify(pixels, preparation="none", activations=None)
