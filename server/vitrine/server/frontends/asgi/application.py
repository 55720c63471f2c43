"""The ASGI application: each request becomes a `Call`, and every failure leaves as a proper status.

A host awaits it once for each HTTP request, each in a task of its own. It knows no message's meaning, and no host.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any

from google.protobuf.message import Message

from vitrine.server.errors import Overloaded, PermissionDenied, RequestError, Unauthenticated, Unsupported, quoted
from vitrine.server.frontends.asgi.events import Event, Receive, Scope, Send, whole
from vitrine.server.frontends.asgi.exchange import FRONT_END, LEAVING, Exchange
from vitrine.server.frontends.asgi.methods import Method, methods_by_path
from vitrine.server.frontends.asgi.page.files import read_files
from vitrine.server.frontends.asgi.request_body import DisconnectedError
from vitrine.server.frontends.asgi.request_headers import authorization_of, check_host, client_host, seconds_given
from vitrine.server.frontends.asgi.wires import ONE, STREAMS, Wire, wire_of
from vitrine.server.inference.call import HANDLED, Call, Stage
from vitrine.server.inference.connections import TOO_MUCH, UNREAD, Offender
from vitrine.server.inference.service import Service
from vitrine.server.observers import safe_observers
from vitrine.server.protocols.compression import FORMATS
from vitrine.server.protocols.endpoint import WrittenAnswer
from vitrine.server.protocols.metadata import HEADER_BYTES, REQUEST_ID, bounded, request_id_of, trace_of
from vitrine.server.protocols.services import endpoints_of
from vitrine.server.protocols.status import failed
from vitrine.server.security.access import ANYONE, Caller, Permission
from vitrine.server.threads import LARGE_BYTES, off_loop

logger = logging.getLogger(__name__)

PATROL_SECONDS = 0.05
"""Seconds between two looks at the calls under way, and at what their connections hold."""

RETRY_SECONDS = 1.0
"""The pause that a caller is asked for whose request had no room."""

SMALL_HEADER_BYTES = HEADER_BYTES // 4
"""Bytes of headers' values that need no closer look: names, and what each header counts beside, have less room."""

LAST_SECONDS = 1.0
"""Seconds that calls which were cut off at the end may take to say so."""


REQUEST_ID_HEADER = REQUEST_ID.encode()


class CutOffError(Exception):
    """An answer ends within a message: its host must break the stream or the connection off."""


class Application:
    """A server's protocols over HTTP.

    Args:
        service: answers; its observers and meters are told of the calls.
        reflection: describe the services to tools such as grpcurl.
        page: give browsers the page.
        local: only this machine can reach the server: without tokens, browsers call it by `localhost` or an address.
        close: closes a connection whose caller doesn't read, by its name; called when its calls are cut off.
    """

    def __init__(
        self,
        service: Service,
        *,
        reflection: bool,
        page: bool = False,
        local: bool = False,
        close: Callable[[str], None] = lambda _: None,
    ) -> None:
        meters = safe_observers(service.meters)
        observers = [*safe_observers(service.observers), *meters]
        endpoints = endpoints_of(service, reflection=reflection)
        self._methods = methods_by_path(endpoints, service.limits.max_message_bytes, observers, meters)
        self._page = read_files() if page else {}
        self._access = service.access
        self._checks_hosts = local and not service.access.takes_tokens
        self._connections = service.connections
        self._close = close
        self._meters = meters
        self._under_way: set[Exchange] = set()
        self._all_over = asyncio.Event()
        self._patrol: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request."""
        method = self._methods.get(scope["path"])
        headers: dict[bytes, bytes] = dict(scope["headers"])
        wire = _wire_for(scope, method, headers)
        if method is None or wire is None:
            await self._turn_away(scope, method, send)
            return
        exchange = Exchange(scope, headers, receive, send, method, wire, self._connections)
        self._under_way.add(exchange)
        try:
            await self._serve(exchange)
        except (DisconnectedError, OSError) as error:  # nobody is there any more
            error.__traceback__ = None  # a host may keep one error for all calls, and with it their frames and answers
        except asyncio.CancelledError:
            if exchange.broken:
                raise CutOffError from None
        finally:
            exchange.close()
            self._under_way.discard(exchange)
            if not self._under_way:
                self._all_over.set()

    def start(self) -> None:
        """Starts to look after calls; on the event loop that runs them."""
        self._patrol = asyncio.ensure_future(self._look_after_calls())

    async def drain(self, seconds: float) -> None:
        """Lets calls under way finish for up to `seconds`, then ends the rest; idle streams soon."""
        self._connections.leave()
        await self._wait_until_over(seconds)
        for exchange in self._under_way:
            exchange.end_early(LEAVING)
        await self._wait_until_over(LAST_SECONDS)
        if self._patrol is not None:
            self._patrol.cancel()

    async def _wait_until_over(self, seconds: float) -> None:
        if self._under_way:
            self._all_over.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_over.wait(), seconds)

    async def _look_after_calls(self) -> None:
        while True:
            await asyncio.sleep(PATROL_SECONDS)
            now = time.monotonic()
            for exchange in tuple(self._under_way):
                exchange.look_after(now)
            for found in self._connections.sweep(FRONT_END):
                if self._end_calls(found):
                    self._connections.closed[found.reason] += 1
                    logger.debug("ended calls of a connection: %s", found.reason)
            self._connections.drop_idle(FRONT_END)

    def _end_calls(self, offender: Offender) -> bool:
        """Ends what a connection holds: its requests that arrive, or its answers where it doesn't read.

        Of requests that hold too much together, the last to come go, so that those before them become whole.
        False: it holds messages that have arrived, and that will be taken.
        """
        of_it = [exchange for exchange in self._under_way if exchange.connection is offender.connection]
        if offender.reason == UNREAD:
            for exchange in of_it:
                exchange.break_off()
            self._close(offender.connection.name)
            return True
        too_much = offender.reason == TOO_MUCH
        arriving = [found.body for found in of_it if found.body.arriving and (found.body.held or not too_much)]
        arriving.sort(key=lambda body: body.since, reverse=True)
        held, message = 0, "too much is arriving, and this request has waited for its rest: try again"
        for body in arriving:
            body.end(Overloaded("TOO_MUCH_ARRIVING", message, retry_after=RETRY_SECONDS))
            held += body.held
            if too_much and held >= offender.surplus:
                break
        return bool(arriving)

    async def _serve(self, exchange: Exchange) -> None:
        method = exchange.method
        call = self._call(exchange)
        call.observers = method.meters
        try:
            # 1. Let the caller in, or refuse it before its request is received.
            try:
                self._admit(exchange, call)
            except RequestError as error:
                logger.debug("refused %s: %s", quoted(call.method), error)
                await exchange.fail(failed(call, error), call.request_id)
                return
            # 2. Answer in the way of the method.
            if method.takes_stream or method.gives_stream:
                await self._hold_stream(exchange, call)
            else:
                await self._answer_one(exchange, call)
        except asyncio.CancelledError:
            await _say_why(exchange, call)
        finally:
            call.close()

    def _admit(self, exchange: Exchange, call: Call) -> None:
        method, wire, headers = exchange.method, exchange.wire, exchange.headers
        if sum([len(value) for _, value in exchange.scope["headers"]]) > SMALL_HEADER_BYTES:
            bounded([(name.decode("latin-1"), value) for name, value in exchange.scope["headers"]])
        if self._checks_hosts:
            check_host(headers)
        call.caller = self._caller(exchange)
        if method.permission is not None:
            call.caller.require(method.permission)
        if call.caller is not ANYONE:
            exchange.connection.known = True
        if exchange.encoding != b"identity" and exchange.encoding not in FORMATS:
            known = " and ".join(name.decode() for name in FORMATS)
            raise Unsupported("COMPRESSION_UNKNOWN", f"this server knows the compressions {known}, and no other")
        if wire.timeout_header in headers:
            exchange.end_in(seconds_given(wire, headers[wire.timeout_header]))

    def _caller(self, exchange: Exchange) -> Caller:
        if exchange.method.permission is None or not self._access.takes_tokens:
            return ANYONE
        return self._access.caller(authorization_of(exchange.scope))

    async def _hold_stream(self, exchange: Exchange, call: Call) -> None:
        """Answers a call that is a stream. Only so many are open at once."""
        method, public = exchange.method, exchange.method.permission is None
        token = "" if call.caller is ANYONE else call.caller.name
        try:
            with self._connections.open_stream(exchange.connection, public=public, token=token):
                if method.takes_stream:
                    call.observers = ()  # each message is a call of its own
                    await self._answer_stream(exchange)
                else:
                    await self._answer_often(exchange, call)
        except Overloaded as error:  # there was no room for it: other errors are answered inside
            await exchange.fail(failed(call, error), call.request_id)

    async def _answer_one(self, exchange: Exchange, call: Call) -> None:
        call.observers = exchange.method.observers
        try:
            data = await exchange.body.only_message()
            call.begin = time.monotonic()
            answer = await _answer(data, exchange, call)
        except DisconnectedError:
            raise
        except Exception as error:
            await exchange.fail(failed(call, error), call.request_id)
        else:
            call.answered()
            await exchange.answer(answer)

    async def _answer_often(self, exchange: Exchange, call: Call) -> None:
        call.observers = exchange.method.observers
        try:
            data = await exchange.body.only_message()
            async for message in exchange.method.answer(_decoded(data, exchange), call):
                await exchange.write(await _encoded(message, exchange, call))
        except (DisconnectedError, OSError):
            raise
        except Exception as error:
            await exchange.fail(failed(call, error), call.request_id)
        else:
            call.answered()
            await exchange.end()

    async def _answer_stream(self, exchange: Exchange) -> None:
        """Each message is a call, whose caller is identified anew: a stream can outlive a token."""
        while True:
            call = self._call(exchange)
            with closing(call):
                try:
                    data = await exchange.body.message()
                    if data is None:
                        break
                    call.begin, call.observers = time.monotonic(), exchange.method.observers
                    call.caller = self._caller(exchange)
                    answer = await _answer(data, exchange, call)
                except DisconnectedError:
                    raise
                except Exception as error:
                    call.observers = exchange.method.observers
                    await exchange.fail(failed(call, error), call.request_id)
                    return
                await exchange.write(answer)
                call.answered()
        await exchange.end()

    def _call(self, exchange: Exchange) -> Call:
        """A call, which this task's log lines are about from now on."""
        headers = exchange.headers
        call = Call(exchange.method.path, address=partial(client_host, exchange.scope))
        if (given := headers.get(REQUEST_ID_HEADER)) is not None:
            call.request_id = request_id_of([(REQUEST_ID, given.decode("latin-1"))])
        if b"traceparent" in headers:
            call.trace = trace_of((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.items())
        HANDLED.set((call,))
        return call

    async def _turn_away(self, scope: Scope, method: Method | None, send: Send) -> None:
        """Answers a request that is no call: for a file of the page, or for a method that there isn't."""
        form = _form_of(scope)
        if method is None and (file := self._page.get(scope["path"])) and not (form and form.enveloped):
            events = file.answer(scope)
        elif method is None:
            events = self._refuse_unknown(scope, form)
        elif scope["method"] != "POST":
            events = whole(405, [(b"allow", b"POST")], b"calls are POST requests\n")
        else:
            kinds = b", ".join(kind for kind, wire in _forms(method).items() if _can_travel(wire, scope))
            events = whole(415, [(b"accept-post", kinds)], b"this port takes these content types: %b\n" % kinds)
        for event in events:
            await send(event)

    def _refuse_unknown(self, scope: Scope, wire: Wire | None) -> Sequence[Event]:
        """The answer for a method that there isn't; a stranger doesn't learn that."""
        call = Call(scope["path"], observers=self._meters)
        with closing(call):
            try:
                if self._access.takes_tokens:
                    self._access.caller(authorization_of(scope)).require(Permission.PREDICT)
                raise Unsupported("METHOD_UNKNOWN", "there is no such method")
            except RequestError as error:
                status = failed(call, error)
                if wire is None or not (wire.enveloped or isinstance(error, Unauthenticated | PermissionDenied)):
                    return whole(404, [], b"there is no such method\n")
                return wire.refuse(status, call.request_id)


def _form_of(scope: Scope) -> Wire | None:
    """The form that a request's content type names; None: no call has that."""
    content_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return wire_of(STREAMS | ONE, content_type)


def _wire_for(scope: Scope, method: Method | None, headers: Mapping[bytes, bytes]) -> Wire | None:
    """The form of a request to a method; None where it is no call, or its form can't travel here."""
    if method is None or scope["method"] != "POST":
        return None
    wire = wire_of(_forms(method), headers.get(b"content-type", b""))
    return wire if wire is not None and _can_travel(wire, scope) else None


def _forms(method: Method) -> Mapping[bytes, Wire]:
    return STREAMS if method.takes_stream or method.gives_stream else ONE


def _can_travel(wire: Wire, scope: Scope) -> bool:
    """True unless the form needs trailers and the host has none: HTTP/1.1."""
    return not wire.needs_trailers or "http.response.trailers" in scope.get("extensions", {})


async def _answer(data: bytes, exchange: Exchange, call: Call) -> bytes:
    call.size = len(data)
    return await _encoded(await exchange.method.answer(_decoded(data, exchange), call), exchange, call)


def _decoded(data: bytes, exchange: Exchange) -> Any:
    method = exchange.method
    return method.decode_json(data) if exchange.wire.json else method.decode(data)


async def _encoded(message: Message | WrittenAnswer, exchange: Exchange, call: Call) -> bytes:
    begin = time.monotonic()
    if call.answer_bytes < LARGE_BYTES:
        data = exchange.wire.encode(message)
    else:
        data = await off_loop(call.answer_bytes, partial(exchange.wire.encode, message))
    call.passed(Stage.ENCODE, begin, time.monotonic())
    return data


async def _say_why(exchange: Exchange, call: Call) -> None:
    """Tells the caller of a call that the server has cut off; one that is gone needs no answer."""
    if exchange.cut_off is None:
        raise asyncio.CancelledError
    if task := asyncio.current_task():
        task.uncancel()
    await exchange.fail(exchange.cut_off, call.request_id)
