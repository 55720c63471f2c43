"""Leaves out the tests of hosts that aren't installed: Envoy is for Linux."""

from importlib.util import find_spec

NEEDS = {"test_http.py": "uvicorn", "test_page_files.py": "uvicorn", "test_envoy.py": "pyvoy"}

collect_ignore = [file for file, module in NEEDS.items() if find_spec(module) is None]
