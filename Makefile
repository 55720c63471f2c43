# Everything runs in .venv. The first target that needs it sets it up, from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVER_READY := $(VENV)/.ready-server

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-envoy check format protos protos-check serve figures image bench bench-quick bench-peers

help: ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

$(READY): EXTRAS := train,server,tracing,plot,dev
$(SERVER_READY): EXTRAS := server
$(READY) $(SERVER_READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Vitrine needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

setup: $(READY) ## install everything into .venv

demo: $(READY) ## run the whole path: train, export, serve, classify, draw every layer
	$(BIN)/python examples/demo.py

test: $(READY) ## run every test, with coverage; installs Triton's and KServe's clients into .venvs
	VITRINE_REQUIRE_CLIENTS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --cov --cov-report=term:skip-covered

test-envoy: $(READY) ## run the tests of servers once more, through Envoy (Linux)
	TEST_FRONTEND=envoy $(BIN)/python -m pytest -n 2 --dist loadscope tests/server tests/contract tests/client tests/oip

check: $(READY) protos-check ## check format, lint and types, and that the generated stubs match the .proto files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## format the code and apply ruff's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: $(if $(wildcard $(READY)),$(READY),$(SERVER_READY)) ## serve the bundled model on localhost:50051; installs no more than that needs
	$(BIN)/vitrine-server

protos: $(READY) ## generate the stubs from the .proto files
	$(BIN)/python protos/generate.py protos

protos-check: $(READY)
	$(BIN)/python protos/generate.py --check protos

figures: $(READY) ## draw the pictures in docs/
	$(BIN)/python docs/figures.py

bench-quick: $(READY) ## compare the server with raw ONNX Runtime and a bare gRPC server, in less than a minute
	$(BIN)/python -m benchmarks.quick

bench: $(READY) ## measure the server with every front end: throughput, latency, overload, clients, start (20 minutes)
	$(BIN)/python -m benchmarks.peers --ours --results out/ours.json
	$(if $(wildcard benchmarks/start.py),$(BIN)/python -m benchmarks.start)

bench-peers: $(READY) ## measure Triton, KServe, MLServer, LitServe, BentoML and Ray Serve, too; update docs/performance.md
	$(BIN)/python -m benchmarks.peers --results out/peers.json
	$(BIN)/python -m benchmarks.peers.report --results out/peers.json

image: ## build the container image, vitrine-server
	docker build --tag vitrine-server .
