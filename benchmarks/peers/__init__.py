"""The same loads on Vitrine and on other servers of models, in turns: `python -m benchmarks.peers`.

- `peer`: what is known of a server: its packages, its start, the form of its requests
- `vitrine`, `triton`, `kserve`, `mlserver`, `litserve`, `bentoml`, `ray_serve`: one server each
- `programs`: the code that these servers are given; it runs in their environments, and imports nothing of this project
- `environments`: makes a virtual environment for each, from PyPI
- `requests`: requests, and the check of an answer
- `http2`, `http1`, `load`: the one client of all
- `measuring`: every load on one server that runs
- `results`: what was measured, in a file
- `report`: tables and a chart for docs/performance.md

All serve the same ONNX file with ONNX Runtime, one thread for a run, and answer with the same numbers: each server's
first answer is compared with ONNX Runtime's own.
"""
