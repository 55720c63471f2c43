"""Asks for a model's description once at a time: calls that need the same one share a question and its answer.

Each call keeps its own deadline, and may leave. It knows neither channels nor messages.
"""

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from copy import copy
from typing import Any

from vitrine.client.base import Deadline
from vitrine.client.catalogue import Description
from vitrine.client.errors import DeadlineError, ServiceError, deadline_error


class Questions:
    """The questions of several threads.

    Args:
        target: address of the server, for errors.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._under_way: dict[str, Future[Description]] = {}
        self._lock = threading.Lock()

    def ask(self, name: str, deadline: Deadline, question: Callable[[], Description]) -> Description:
        """The answer to the question about this model that is under way, or else to this one.

        Raises:
            ServiceError: the question failed.
        """
        while True:
            with self._lock:
                asked = self._under_way.get(name)
                if asked is None:
                    own = self._under_way[name] = Future()
            if asked is None:
                return self._answer(name, own, question)
            try:
                return asked.result(None if math.isinf(deadline.left) else deadline.left)
            except TimeoutError:
                raise deadline_error(self._target, deadline.seconds) from None
            except (DeadlineError, CancelledError):  # the other call's time was over, or it was interrupted
                continue
            except ServiceError as error:
                raise copy(error) from error.__cause__

    def _answer(self, name: str, asked: "Future[Description]", question: Callable[[], Description]) -> Description:
        try:
            description = question()
        except BaseException as error:
            self._end(name)
            asked.set_exception(error if isinstance(error, Exception) else CancelledError())
            raise
        self._end(name)
        asked.set_result(description)
        return description

    def _end(self, name: str) -> None:
        with self._lock:
            del self._under_way[name]


class AsyncQuestions:
    """The questions of one event loop.

    Args:
        target: address of the server, for errors.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._under_way: dict[str, asyncio.Task[Description]] = {}

    async def ask(
        self, name: str, deadline: Deadline, question: Callable[[], Coroutine[Any, Any, Description]]
    ) -> Description:
        """The answer to the question about this model that is under way, or else to this one.

        Raises:
            ServiceError: the question failed.
        """
        while True:
            asked = self._under_way.get(name)
            is_own = asked is None
            if asked is None:
                asked = self._under_way[name] = asyncio.create_task(question())
                asked.add_done_callback(lambda task: self._end(name, task))
            try:
                async with asyncio.timeout(None if math.isinf(deadline.left) else deadline.left):
                    return await asyncio.shield(asked)  # a caller that leaves takes nothing from the others
            except TimeoutError:
                raise deadline_error(self._target, deadline.seconds) from None
            except DeadlineError:
                if is_own:
                    raise
            except ServiceError as error:
                if is_own:
                    raise
                raise copy(error) from error.__cause__

    def _end(self, name: str, asked: "asyncio.Task[Description]") -> None:
        del self._under_way[name]
        if not asked.cancelled():
            asked.exception()  # asked for, so that asyncio logs no failure after all callers have left
