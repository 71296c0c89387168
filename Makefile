PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
# TotalSegmentator brings packages of its own, so it has an environment of its own.
PEERS_VENV ?= .venv-peers
PEERS_READY := $(PEERS_VENV)/.ready
PEERS_PYTHON := $(PEERS_VENV)/bin/python
FUZZ_MINUTES ?= 10
# One more than there are cores: many tests wait for a process or a server.
TEST_WORKERS ?= $(shell $(PYTHON) -c "import os; print(min(4, (os.cpu_count() or 1) + 1))")
# Files in the order of testpaths, the long ones first, so that all workers are done at the same time.
DISTRIBUTED := --numprocesses=$(TEST_WORKERS) --dist=loadfile --no-loadscope-reorder

.PHONY: demo test test-peers fuzz bench check docs lint clean

demo: $(READY)
	$(BIN)/python TuckerSeg/Testing/gui/demonstration.py --out demo-output

test: $(READY) lint
	$(BIN)/python -m pytest $(DISTRIBUTED)

# For every save: style, layers, and the unit tests that are quick.
check: $(READY) lint
	$(BIN)/python -m pytest --quiet $(DISTRIBUTED) -m "not slow" TuckerSeg/Testing/unit

docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test-peers: $(READY) $(PEERS_READY)
	TUCKERSEG_TOTALSEGMENTATOR_PYTHON=$(abspath $(PEERS_PYTHON)) $(BIN)/python -m pytest TuckerSeg/Testing/peers

fuzz: $(READY)
	$(BIN)/python TuckerSeg/Testing/fuzz/run.py --minutes $(FUZZ_MINUTES) $(if $(SEED),--seed $(SEED)) $(addprefix --target ,$(TARGET))

bench: $(READY)
	$(BIN)/tuckerseg benchmark --out bench-output $(if $(VOLUME),--volume $(VOLUME))

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $(READY)

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $(DOCS_READY)

$(PEERS_READY): constraints-peers.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_PYTHON) -m pip install --quiet --constraint constraints-peers.txt TotalSegmentator
	touch $(PEERS_READY)

clean:
	rm -rf $(VENV) $(PEERS_VENV) demo-output bench-output site
