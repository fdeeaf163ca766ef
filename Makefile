# Every target makes what it needs; a fresh clone needs Python 3.10-3.13, make and a package index.
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
MODEL := inference/inference.pdmodel
OCR := inference/ocr/rec/inference.pdmodel

PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
# what make coverage runs; all tests where it is empty
COVERED ?=

FRAMEWORKS := $(or $(HUBSERVE_FRAMEWORKS_HOME),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hubserve-frameworks)

.PHONY: demo test test-slow test-frameworks test-operations coverage check format docs docs-reference ocr gpu bench bench-peers soak faults hostile fuzz gradio nightly clean

demo: $(MODEL)  ## install everything, serve the default classifier, classify a real photo
	$(BIN)/python tools/demo.py

test: $(MODEL) $(OCR)  ## all tests but the slow ones, after format, lint and types; three workers for two cores
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-slow: $(MODEL) $(OCR)  ## the tests that take long by nature: stress, fuzzers, environments from a package index
	$(BIN)/python -m pytest $(PARALLEL) -m slow

test-frameworks: $(MODEL)  ## MegEngine, OneFlow, TensorFlow, PyTorch and Paddle of two versions for real; builds their environments once, 10 GB in a folder that is kept
	for each in megengine oneflow tensorflow pytorch; do HUB_HOME="$(FRAMEWORKS)" $(BIN)/hub env build $$each || true; done
	HUBSERVE_FRAMEWORKS_HOME="$(FRAMEWORKS)" $(BIN)/python -m pytest -n 2 --dist loadfile tests/frameworks

test-operations: $(MODEL)  ## what operators run: containers' steps, units, manifests, proxies, browsers; needs programs of Debian (.ci/operations), skips what is missing
	$(BIN)/python -c 'import kubernetes_validate' 2>/dev/null || $(BIN)/pip install --quiet -e '.[operations]'
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/operations

coverage: $(MODEL) $(OCR)  ## the lines and branches that all tests run, those of servers and instances included; slower than the tests alone
	$(BIN)/python -m coverage run -m pytest $(COVERED) $(PARALLEL)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered

check: $(VENV)/installed  ## format, lint and types; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed  ## rewrite the sources in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/docs docs-reference  ## the documentation as a site, in site/; links and anchors are checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-reference: $(VENV)/installed  ## docs/reference/, from the sources
	$(BIN)/python tools/reference.py

ocr: $(OCR)  ## the models of hubmodules/ocr (16 MB, downloaded once)

bench: $(MODEL) $(OCR)  ## measure the server against the raw predictor
	$(BIN)/python bench/classifier.py
	$(BIN)/python bench/ocr.py
	$(BIN)/python bench/observability.py

gpu: $(VENV)/installed  ## test the engines on a GPU of this machine, and measure PyTorch there; installs PyTorch where it is missing
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/pip install -e '.[pytorch]'
	$(BIN)/python -m pytest tests/gpu
	$(BIN)/python bench/gpu.py

soak: $(VENV)/installed  ## hold the server to its promises under stress, a quarter of an hour
	@failed=0; for each in batching overload soak chaos; do $(BIN)/python bench/$$each.py || failed=1; done; exit $$failed

faults: $(VENV)/installed  ## break installs, uninstalls and rollbacks at each of their system calls; minutes
	$(BIN)/python -m tests.unit.registry.faults

hostile: $(VENV)/installed  ## unpack ten thousand archives that mean harm; minutes
	$(BIN)/python -m tests.unit.registry.archives.hostile

fuzz: $(VENV)/installed  ## send the server 200,000 requests and 40,000 connections that mean harm, the gateway 100,000 frames, read 5,000 requirements files; minutes
	$(BIN)/python bench/fuzz_v2.py
	$(BIN)/python bench/fuzz_http1.py
	$(BIN)/python bench/fuzz_http2.py
	$(BIN)/python bench/fuzz_wire.py
	$(BIN)/python -m tests.unit.registry.environments.requirements_fuzz

gradio: $(VENV)/installed  ## real gradio, old and new, behind /gradio/<module>; installs a hundred packages, a minute or two
	$(BIN)/python -m pytest tests/behaviours/real_gradio.py

nightly: $(VENV)/installed  ## every property test with 5,000 examples; half an hour
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -m hypothesis

bench-peers: $(MODEL)  ## measure the server against others; slow: the first run installs each of them (minutes, 4 GB)
	$(BIN)/python bench/peers/do_nothing.py
	$(BIN)/python bench/peers/tensors.py
	$(BIN)/python bench/peers/repository.py
	$(BIN)/python bench/peers/classifier.py

clean:  ## remove everything that the other targets make
	rm -rf $(VENV) .demo build dist site *.egg-info .mypy_cache .ruff_cache .hypothesis .coverage*
	find inference -mindepth 1 ! -name README.md -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "hubserve needs Python 3.10 to 3.13, and none was found. Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on -e '.[all]'
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --progress-bar on -e '.[docs]'
	touch $@

$(MODEL): $(VENV)/installed $(wildcard tools/*.py)
	$(BIN)/python tools/export_model.py
	touch $@

$(OCR): $(VENV)/installed tools/export_ocr.py
	$(BIN)/python tools/export_ocr.py
	touch $@
