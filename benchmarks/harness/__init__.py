"""Shared by `benchmarks/` and `endurance/`: servers under test and summaries of what was measured.

- `servers`: starts `vitrine-server` in its own process and stops it
- `callers`: concurrent calls from one client process, a program of its own
- `processes`: memory, CPU time, open files and threads of a process and its children
- `artifacts`: artifacts of random weights
- `rounds`: takes turns between what is compared, with a progress bar
- `summary`: median, range and number of rounds
- `machine`: hardware and versions that a result belongs to

It knows no particular measurement.
"""
