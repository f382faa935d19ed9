# Own environment; torch first, as the CPU build where the index has one (set TORCH= to keep what pip chooses).
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench install venv517 clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	touch $@

# Draws faces, pretrains on them, probes, classifies a new one: under 10 minutes on two CPU cores.
demo: install
	$(BIN)/python training/demo.py --output_dir demo_output

test: install
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

# Pretraining against what people have today; a table, and bench.json.
bench: install
	$(BIN)/python training/benchmarks/bench.py --output_json bench.json

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A second environment for the tests of two Transformers versions.
venv517: .venv517/.installed

.venv517/.installed:
	$(PYTHON) -m venv .venv517
	.venv517/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	.venv517/bin/pip install --quiet --disable-pip-version-check transformers==5.17.0 huggingface_hub==1.33.0 pillow
	touch $@

clean:
	rm -rf $(VENV) .venv517 demo_output
