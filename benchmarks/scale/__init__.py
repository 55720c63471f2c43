"""The figures of docs/scale.md: what calls cost, and how long they wait: `python -m benchmarks.scale`.

- `simulation`: a server under random calls, as a small discrete-event simulation
- `measuring`: what the simulation needs of a real server, and that server's own latencies under the same load
- `cost`: cores, bandwidth and money for a number of images a second
- `__main__`: measures both, and writes them to a file
- `report`: tables and a picture for docs/scale.md

`measuring` knows real servers; the simulation and the arithmetic know none.
"""

PARTS = ("costs", "waiting")
"""What is measured, and can be measured alone."""
