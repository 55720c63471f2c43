"""A browser for the tests of the page. Where there is none, they are left out, and say how to get one."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from support.browser import Visitor

collect_ignore = [] if find_spec("uvicorn") and find_spec("playwright") else ["test_page.py", "test_hands.py"]

Visit = Callable[..., "Visitor"]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A browser; for one module only, as it keeps an event loop while it runs."""
    from support.browser import CHROMIUM, MISSING, REQUIRED, chromium

    if CHROMIUM is None:
        assert not REQUIRED, MISSING
        pytest.skip(MISSING)
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Visit]:
    """Opens a page as a new visitor; at the end, nothing has gone wrong in the console, and no other host was asked."""
    from support.browser import Visitor

    visitors: list[Visitor] = []

    def come(address: str, fragment: str = "", **settings: Any) -> Visitor:
        settings = {"reduced_motion": "reduce", "viewport": {"width": 1240, "height": 900}} | settings
        visitor = Visitor(browser.new_context(**settings).new_page(), address)
        visitors.append(visitor)
        if fragment is not None:
            visitor.open(fragment)
        return visitor

    yield come
    for visitor in visitors:
        visitor.page.context.close()
        assert visitor.faults == []
