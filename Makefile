# Everything runs in .venv, which the first target that needs it sets up from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format protos protos-check serve figures image

help: ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Vitrine needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,server,tracing,plot,dev]'
	@touch $@

setup: $(READY) ## install everything into .venv

demo: $(READY) ## train, export, serve, classify, and draw every layer: the whole path
	$(BIN)/python examples/demo.py

test: $(READY) ## run every test, with coverage; Triton's and KServe's clients go into .venvs for it
	VITRINE_REQUIRE_CLIENTS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --cov --cov-report=term:skip-covered

check: $(READY) protos-check ## ruff, mypy --strict, generated stubs in step with the .proto
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: $(READY) ## serve the bundled model on localhost:50051
	$(BIN)/vitrine-server

protos: $(READY) ## generate the stubs from protos/
	$(BIN)/python protos/generate.py protos

protos-check: $(READY)
	$(BIN)/python protos/generate.py --check protos

figures: $(READY) ## draw the pictures of the docs
	$(BIN)/python docs/figures.py

image: ## build the container image
	docker build --tag vitrine-server .
