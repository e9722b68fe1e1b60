# `make demo` and `make test` set up their environment on their own: Python >= 3.11, git and make suffice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_OUT ?= demo-run

.PHONY: demo test check slow fuzz docs wheel bench benchmarks clean

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

# every goal for speed and memory, into docs/performance.md; `make benchmarks` prints details of single parts
bench: $(READY)
	$(BIN)/python -m benchmarks --store docs/performance.md

benchmarks: $(READY)
	$(BIN)/python benchmarks/gaze_density.py
	$(BIN)/python benchmarks/fine_grained.py
	$(BIN)/python benchmarks/mixing.py
	$(BIN)/python benchmarks/pairing.py
	$(BIN)/python benchmarks/puzzlemix.py

# uv is fetched with pip into the environment itself where the machine has none
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gazeeval needs Python >= 3.11: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	command -v uv >/dev/null || $(BIN)/python -m pip install --quiet uv
	PATH="$(CURDIR)/$(BIN):$$PATH" uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo-run
