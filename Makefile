# `make demo` and `make test` set up their environment on their own: Python >= 3.11, git and make suffice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_OUT ?= demo-run

.PHONY: demo test check slow fuzz docs wheel bench gpu clean

demo: $(READY)
	rm -rf $(DEMO_OUT)
	$(BIN)/gazeeval run --out $(DEMO_OUT)

test: $(READY)
	$(BIN)/pytest

slow: $(READY)
	$(BIN)/pytest -m slow

# for a nightly job: random damage to every kind of input, as long as one likes; what it finds stays in tests/hostile/corpus
FUZZ ?= 5000
fuzz: $(READY)
	GAZEEVAL_FUZZ=$(FUZZ) $(BIN)/pytest tests/hostile/test_fuzz.py

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(READY)
	$(BIN)/python -m build

# every goal for speed and memory, into docs/performance.md; single parts: python benchmarks/puzzlemix.py and so on
bench: $(READY)
	$(BIN)/python -m benchmarks --store docs/performance.md

# on a machine with a GPU: every test on it too, how far it is from the CPU, and the goals for it
gpu: $(READY)
	$(BIN)/pytest
	$(BIN)/python -m benchmarks.devices --device cuda --store docs/performance.md
	$(BIN)/python -m benchmarks --device cuda --store docs/performance.md

# uv is fetched with pip into the environment itself where the machine has none
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gazeeval needs Python >= 3.11: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	command -v uv >/dev/null || $(BIN)/python -m pip install --quiet uv
	PATH="$(CURDIR)/$(BIN):$$PATH" uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo-run
