"""Tests that run for minutes and show endurance, one script each: `python -m endurance.NAME`, in the repository's root.

Each exits with 1 when the server didn't stand the test.
"""
