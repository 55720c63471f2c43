# Everything runs in .venv. The first target that needs it sets it up, from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVER_READY := $(VENV)/.ready-server
TYPESCRIPT := 5.9.3
# In the order of the folders. By the number of their tests, Ray's few but long ones would come last, and run alone.
SIDE_BY_SIDE := -n 2 --dist loadscope --no-loadscope-reorder
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# $(call tools,EXTRA) makes .venvs/EXTRA with the packages of that extra of pyproject.toml, and nothing of ours.
define tools
	@.venvs/$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venvs/$(1)
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$(1)"], sep="\n")' \
	  > .venvs/$(1)/requirements.txt
	.venvs/$(1)/bin/python -m pip install --quiet --disable-pip-version-check --requirement .venvs/$(1)/requirements.txt
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-envoy check page-check format protos protos-check serve figures pictures dist docs \
  bench bench-quick bench-peers image

help: ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

$(READY): EXTRAS := train,server,tracing,plot,bulk,dev
$(SERVER_READY): EXTRAS := server,http
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
	VITRINE_REQUIRE_CLIENTS=1 $(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=term:skip-covered

test-envoy: $(READY) ## run the tests of servers once more, through Envoy (Linux)
	TEST_FRONTEND=envoy $(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/server tests/contract tests/client tests/oip

check: $(READY) protos-check page-check ## check format, lint and types, and that the generated stubs match the .proto files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

page-check: ## check the types of the page's JavaScript, where npm is installed
	@if command -v npm >/dev/null; then npm exec --yes --package typescript@$(TYPESCRIPT) -- tsc --project tests/page; \
	  else echo "npm isn't installed: the types of the page's JavaScript are not checked"; fi

format: $(READY) ## format the code and apply ruff's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: $(if $(wildcard $(READY)),$(READY),$(SERVER_READY)) ## serve the bundled model on localhost:50051, and the page on http://localhost:8080; installs no more than that needs
	$(BIN)/vitrine-server --http-port 8080

protos: $(READY) ## generate the stubs from the .proto files
	$(BIN)/python protos/generate.py protos

protos-check: $(READY)
	$(BIN)/python protos/generate.py --check protos

figures: $(READY) ## draw the pictures in docs/
	$(BIN)/python docs/figures.py
	$(BIN)/python docs/gallery.py

dist: ## build the sdist and the wheel into dist/, check both, try the wheel with every Python here
	$(call tools,release)
	.venvs/release/bin/python release/dist.py

docs: ## build the documentation's site into out/site; a broken link fails
	$(call tools,docs)
	$(PYTHON) docs/site.py
	NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/python -m mkdocs build

pictures: $(READY) ## take the pictures of the page in docs/, with Chromium
	$(BIN)/python docs/page_pictures.py

bench-quick: $(READY) ## compare the server with raw ONNX Runtime and a bare gRPC server, in less than a minute
	$(BIN)/python -m benchmarks.quick

bench: $(READY) ## measure the server with every front end: throughput, latency, overload, clients, start (20 minutes)
	$(BIN)/python -m benchmarks.peers --ours --results out/ours.json
	$(if $(wildcard benchmarks/start.py),$(BIN)/python -m benchmarks.start)

bench-peers: $(READY) ## measure Triton, KServe, MLServer, LitServe, BentoML and Ray Serve, too; update docs/performance.md
	$(BIN)/python -m benchmarks.peers --results out/peers.json
	$(BIN)/python -m benchmarks.peers.report --results out/peers.json

image: ## build the container image, vitrine-server
	docker build --tag vitrine-server --tag vitrine-server:$(VERSION) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD || echo unknown) \
	  --build-arg CREATED=$$(git log -1 --format=%cI || echo unknown) .
