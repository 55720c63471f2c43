"""Bounds what callers' connections hold outside of admitted requests, for every front end.

These are messages that are still arriving, answers that are still leaving, and streams that wait. It knows neither
sockets nor messages: a front end tells it of both, and closes the connections that it names. Everything happens on the
event loop's thread.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from vitrine.server.errors import Leaving, Overloaded, RequestError, RequestTooSlow
from vitrine.server.inference.admission import Admission
from vitrine.server.inference.shares import Shares
from vitrine.server.inference.upload_queue import UNREAD_BYTES, UploadQueue, Uploads
from vitrine.server.ranges import RealRange, WholeRange

SLACK = 1 << 20
"""Bytes that a connection may hold beyond what its calls may send: headers, and what is read ahead."""

CALL_ALLOWANCE = 1024
"""Bytes of headers that a call may take beside its message."""

FRAME_ALLOWANCE = 1 / 32
"""Part of a message's bytes that may come with it: frames of HTTP/2 and records of TLS, small ones too."""

ANSWER_ALLOWANCE = 1 / 100
"""Part of an answer's bytes that its caller may send back to ask for more of it (WINDOW_UPDATE), encrypted or not."""

FORGIVEN_BYTES = 1024
"""Bytes a second that count as no message: PINGs and the like, which would add up beside a stream that waits."""

GRACE_SECONDS = 1.0
"""Seconds that a connection may hold more than its calls may send. Many calls that begin at once are taken up one by
one, and gRPC's core receives the messages of those that wait for that, too."""

MIN_ROOM_RATIO = 1 / 8
"""Part of `max_bytes` that messages may take while they arrive, however much is pending."""

CALLER_STREAMS, PUBLIC_STREAMS = 2048, 512
"""Streams that may be open at once, of callers with permissions and of strangers. Each takes about 25 KiB."""

RETRY_SECONDS = 1.0
"""The pause that a caller is asked for when too many streams are open."""

IDLE_SECONDS = 2.0
"""Seconds in which a message must have arrived while the server leaves: what waits for it would hold the drain."""

TRANSFER_SECONDS = RealRange(0.1, 86_400)
"""The seconds that a message may take to arrive or to leave."""

AGES = RealRange(0, 86_400)
"""The ages of connections in seconds; 0: no limit."""

CONNECTIONS = WholeRange(1, 1_000_000)
"""The numbers of connections."""

UNREAD, TOO_LARGE, TOO_SLOW, TOO_MUCH, SURPLUS = REASONS = ("unread", "too_large", "too_slow", "too_much", "surplus")
"""Why a connection was closed: see docs/metrics.md."""


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """Limits of connections.

    Raises:
        ConfigError: a number is out of its range.
    """

    transfer_seconds: float = 60.0
    """Seconds that a message may take to arrive, and an answer to leave."""
    max_connections: int | None = None
    """Connections that may be open at once; None takes three quarters of the files that the process may open."""
    max_age_seconds: float = 0.0
    """Seconds after which a connection takes no new calls, so that its caller connects anew; 0: never."""

    def __post_init__(self) -> None:
        TRANSFER_SECONDS.check("transfer_seconds", self.transfer_seconds)
        AGES.check("max_age_seconds", self.max_age_seconds)
        if self.max_connections is not None:
            CONNECTIONS.check("max_connections", self.max_connections)


@dataclass(slots=True, eq=False)
class Connection:
    """A caller's connection, and what it holds."""

    name: str
    """Its name in its front end."""
    host: str
    """The host at its other end, whose share it counts in; all of a network for IPv6."""
    known: bool = False
    """A call with a known token came by it."""
    calls: int = 0
    """Calls under way."""
    waiting: int = 0
    """Calls and streams whose next message hasn't arrived."""
    allowed: int = 0
    """Bytes that these messages may have together."""
    taken: int = 0
    """Bytes that have arrived and were taken in, with their headers."""
    held: int = 0
    """Bytes that have arrived and weren't taken in, when it was measured last."""
    measured: float = 0.0
    """When it was measured last, in seconds of `time.monotonic`."""
    mark: int = 0
    """Bytes that had arrived at `held_since`."""
    held_since: float = 0.0
    """Since when some bytes may be held, in the same seconds: as many as had arrived then weren't taken in yet."""
    fitted: float = 0.0
    """When it last held no more than its messages may have, in the same seconds."""
    active: float = 0.0
    """When a call last began, in the same seconds."""
    front_end: str = ""
    """The name of the front end that it belongs to, which closes it."""
    uploads: Uploads = field(default_factory=Uploads)
    """Its messages that wait to be read, or are."""

    @property
    def exceeds(self) -> bool:
        """It holds more than its messages may have."""
        return self.held > self.allowed + SLACK

    def measure(self, received: int, now: float) -> None:
        """Notes the bytes that have arrived since the connection was opened.

        Where no message is waited for, nothing is held: the rest was of calls that were cancelled or refused. On a busy
        connection some message is always arriving: what it holds is slow only if it isn't taken in later.
        """
        forgiven = int((now - self.measured) * FORGIVEN_BYTES) if self.held else 0
        self.taken = min(self.taken + forgiven, received) if self.waiting else received
        before, self.held, self.measured = self.measured, received - self.taken, now
        if self.taken + SLACK >= self.mark:
            self.mark, self.held_since = received, now
        if not self.exceeds or before < now - GRACE_SECONDS:
            self.fitted = now

    def hold(self, change: int, now: float) -> None:
        """Counts bytes of messages that a front end has read itself: more of one that arrives, or less of those."""
        if change < 0 or self.held <= SLACK:
            self.held_since = now
        self.held += change
        if not self.exceeds:
            self.fitted = now


class Transfer:
    """A message that arrives, or an answer that leaves. Made by `Connections.expect`.

    Args:
        ledger: the account that it is in.
        connection: its connection.
        limit: the largest message, in bytes.
        end: ends the call that waits for the message.
        streamed: one of many: there may be none for a long time.
    """

    __slots__ = ("_counts_as", "_ledger", "arriving", "connection", "end", "limit", "since", "streamed")

    def __init__(
        self, ledger: "Connections", connection: Connection, limit: int, end: Callable[[], None], *, streamed: bool
    ) -> None:
        self._ledger, self.connection, self.limit, self.end, self.streamed = ledger, connection, limit, end, streamed
        self.arriving = True
        self.since = ledger.clock()
        self._counts_as = 0

    def may_read(self) -> bool:
        """There is room for the message, and it counts from now on; False: it has to wait for its turn."""
        if self.limit <= UNREAD_BYTES:  # health checks, which wait for no upload
            return True
        self._counts_as = self._ledger.uploads.enter(self.connection.uploads, self.limit)
        return bool(self._counts_as)

    async def turn(self) -> None:
        """Waits until there is room for the message. Its time runs."""
        self._counts_as = await self._ledger.uploads.wait(self.connection.uploads, self.limit)

    def arrived(self, size: int) -> None:
        """The message was taken in; 0: it didn't come, and won't."""
        connection = self.connection
        connection.waiting -= 1
        connection.allowed -= self.limit
        connection.taken += size + int(size * FRAME_ALLOWANCE) + CALL_ALLOWANCE
        self._ledger.forget(self)
        self.arriving = False
        if self._counts_as:
            self._ledger.uploads.leave(connection.uploads, self._counts_as, size)

    def began(self) -> None:
        """The first bytes of a stream's next message have come: from now on, its time is bounded."""
        if self.streamed:
            self.streamed = False
            self.since = self._ledger.clock()
            self._ledger.forget(self)
            self._ledger.time(self)

    def refusal(self) -> RequestError:
        """The error of a message that hasn't arrived when `end` is called."""
        if self.streamed:
            return Leaving("LEAVING", "this server stops, and the stream was idle: open another one")
        if self._ledger.leaving:
            return Leaving("LEAVING", "this server stops, and the request hasn't arrived: send it again")
        seconds = self._ledger.config.transfer_seconds
        return RequestTooSlow("REQUEST_TOO_SLOW", f"the request took more than {seconds:g} s to arrive: send it again")

    def leaving(self, size: int) -> None:
        """An answer of so many bytes has begun to leave."""
        self.connection.taken += int(size * ANSWER_ALLOWANCE)
        self.since = self._ledger.clock()
        self._ledger.time(self)

    def left(self) -> None:
        """The answer has left."""
        self._ledger.forget(self)


class Offender(NamedTuple):
    """A connection that must be closed, or whose calls must be ended."""

    connection: Connection
    reason: str
    surplus: int = 0
    """Bytes that must go, with the reason `TOO_MUCH`: what the calls of one connection hold may be more than that."""


class Connections:
    """All connections of a server's front ends.

    Args:
        config: their limits.
        admission: the work under way, which messages that arrive share the memory with.
        clock: gives the time in seconds.
    """

    def __init__(
        self, config: ConnectionConfig, admission: Admission, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.clock = clock
        self.closed: Counter[str] = Counter()
        """Connections that were closed, by the reason."""
        self.uploads = UploadQueue(self._room, int(admission.max_bytes * MIN_ROOM_RATIO))
        """Messages that wait until there is room for them."""
        self._admission = admission
        self._open: dict[str, Connection] = {}
        self._timed: dict[Transfer, None] = {}  # oldest first
        self._streamed: dict[Transfer, None] = {}
        self._streams = {True: Shares(PUBLIC_STREAMS), False: Shares(CALLER_STREAMS)}
        self._counted: dict[str, int] = {}
        self.leaving = False
        """The server leaves, and ends calls whose message doesn't arrive soon."""
        self._left_at = 0.0

    @property
    def count(self) -> int:
        """Connections that are open, with those that never had a call; as counted last."""
        return sum(self._counted.values())

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return sum(shares.held for shares in self._streams.values())

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that are arriving, as measured last."""
        return sum(connection.held for connection in self.waiting())

    def at(self, name: str, host_of: Callable[[str], str], front_end: str = "") -> Connection:
        """The connection of a name."""
        connection = self._open.get(name)
        if connection is None:
            connection = self._open[name] = Connection(name, host_of(name), front_end=front_end)
        return connection

    def waiting(self) -> list[Connection]:
        """Connections with calls whose message hasn't arrived, and those that held much when last measured."""
        return [connection for connection in self._open.values() if connection.waiting or connection.held > SLACK]

    def counted(self, number: int, front_end: str = "") -> None:
        """Notes how many connections a front end has."""
        self._counted[front_end] = number

    def drop(self, connection: Connection) -> None:
        """Forgets a connection."""
        self._open.pop(connection.name, None)

    def drop_idle(self, front_end: str) -> None:
        """Forgets a front end's connections that have no call."""
        for connection in [found for found in self._open.values() if not found.calls and found.front_end == front_end]:
            self.drop(connection)

    def keep_only(self, names: Collection[str], counted: float) -> None:
        """Forgets connections that have ended.

        Args:
            names: those that were open at the moment `counted`.
            counted: the moment; calls have come by further ones since then.
        """
        self.counted(len(names))
        gone = [
            name
            for name, found in self._open.items()
            if name not in names and not found.calls and found.active < counted
        ]
        for name in gone:
            del self._open[name]

    def expect(
        self, connection: Connection, limit: int, end: Callable[[], None], *, streamed: bool = False
    ) -> Transfer:
        """Counts a message as arriving.

        Args:
            connection: where it comes from.
            limit: the most bytes that it may have.
            end: ends the call, with an error that says why; called if the message takes too long.
            streamed: it is the next message of a stream, which may be silent for long.
        """
        transfer = Transfer(self, connection, limit, end, streamed=streamed)
        connection.waiting += 1
        connection.allowed += limit
        (self._streamed if streamed else self._timed)[transfer] = None
        return transfer

    def time(self, transfer: Transfer) -> None:
        """Bounds the time of a transfer from now on."""
        self._timed[transfer] = None

    def forget(self, transfer: Transfer) -> None:
        """Bounds its time no more."""
        self._timed.pop(transfer, None)
        self._streamed.pop(transfer, None)

    @contextmanager
    def open_stream(self, connection: Connection, *, public: bool, token: str = "") -> Iterator[None]:
        """Counts a stream as open while the context lasts.

        Args:
            connection: its connection.
            public: strangers may open such streams.
            token: the name of its caller's token; empty: it has none, and counts in its host's share.

        Raises:
            Overloaded: too many are open, in all or of this caller.
        """
        shares, caller = self._streams[public], token or connection.host  # behind a proxy, all have one host
        if not (shares.fits(1) and shares.is_fair(caller, 1)):
            message = f"{shares.held:,} streams are open, too many of them from {caller}: close some, or try again"
            raise Overloaded("TOO_MANY_STREAMS", message, retry_after=RETRY_SECONDS)
        shares.take(caller, 1)
        try:
            yield
        finally:
            shares.give_back(caller, 1)

    def leave(self) -> None:
        """Ends calls whose message doesn't arrive soon, from now on: they would hold a server that drains."""
        self.leaving = True
        self._left_at = self.clock()

    def sweep(self, front_end: str = "") -> Iterator[Offender]:
        """Ends calls whose message takes too long; gives a front end's connections that must be closed, and why."""
        return (found for found in self._offenders() if found.connection.front_end == front_end)

    def _offenders(self) -> Iterator[Offender]:
        now, longest = self.clock(), self.config.transfer_seconds
        for transfer in list(takewhile(lambda timed: timed.since < now - longest, self._timed)):
            if transfer.arriving:
                transfer.end()
            else:
                yield Offender(transfer.connection, UNREAD)
        if self.leaving:
            self._end_unsent(now)
        yield from self._hoarders(now, longest)
        self._look_at_lines(now)

    def _look_at_lines(self, now: float) -> None:
        """Lets further calls read where those that do send nothing."""
        in_line = [connection for connection in self.waiting() if connection.uploads.waiting]
        free = self._room() - self.held_bytes if in_line else 0
        for connection in in_line:
            self.uploads.look(connection.uploads, connection.held, free, now)

    def _end_unsent(self, now: float) -> None:
        for transfer in [*self._streamed, *self._timed]:
            if transfer.arriving and max(transfer.since, self._left_at) < now - IDLE_SECONDS:
                transfer.end()

    def _hoarders(self, now: float, longest: float) -> Iterator[Offender]:
        """Connections that hold too much of messages that haven't arrived: each by itself, or all together."""
        holding = [connection for connection in self.waiting() if connection.held > SLACK]
        for connection in holding:
            if connection.exceeds and connection.fitted < now - GRACE_SECONDS:
                yield Offender(connection, TOO_LARGE)
            elif connection.held_since < now - longest:
                yield Offender(connection, TOO_SLOW)
        # Strangers first, then those that exceed, and then those with the most, until the rest has room.
        excess = sum(connection.held for connection in holding) - self._room()
        for connection in sorted(holding, key=lambda found: (found.known, not found.exceeds, -found.held)):
            if excess <= 0:
                return
            yield Offender(connection, TOO_MUCH, surplus=excess)
            excess -= connection.held

    def _room(self) -> int:
        """Bytes that messages may take while they arrive: what isn't pending, and always a part of it."""
        whole = self._admission.max_bytes
        free = max(whole - self._admission.bytes, int(whole * MIN_ROOM_RATIO))
        return min(free, whole // 2 + SLACK)  # half is at least one message: see `ServiceConfig`

    def surplus(self, names: Collection[str], most: int, host_of: Callable[[str], str]) -> list[str]:
        """The connections to close when there are more than `most`: without calls, of the hosts that have the most.

        Args:
            names: all that are open.
            most: the connections that may stay.
            host_of: the host of each; for IPv6 its network, or one host would be many.
        """
        excess = len(names) - most
        if excess <= 0:
            return []
        found = {name: self._open.get(name) for name in names}
        hosts = Counter(map(host_of, names))
        idle = [name for name, connection in found.items() if connection is None or not connection.calls]

        def standing(name: str) -> tuple[int, float]:
            connection = found[name]
            return -hosts[host_of(name)], connection.active if connection else 0.0

        return sorted(idle, key=standing)[:excess]
