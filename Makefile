# `make demo` and `make test` do everything from a bare Python ≥ 3.11.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
IMAGES ?= samples/*.jpg
OUT := $(or $(OUT),runs/demo-$(shell date +%Y%m%d-%H%M%S))

.PHONY: demo test test-slow test-anomalib test-ray benchmarks docs docs-version lint format lock clean

demo: $(VENV)/.installed  ## Inspect the sample images, or IMAGES=path; then learn from good ones.
	@# Exit code 1: some images could not be inspected, which its output says.
	$(VENV)/bin/flawsight inspect "$(IMAGES)" --out "$(OUT)" || test $$? -eq 1
	$(VENV)/bin/flawsight learn samples/learn/good --out "$(OUT)-learned/milled-face.reference"
	$(VENV)/bin/flawsight inspect samples/learn/new --out "$(OUT)-learned/run" \
	  --reference "$(OUT)-learned/milled-face.reference" --explain defective

test: $(VENV)/.installed-test  ## Run the whole test suite.
	$(VENV)/bin/python -m pytest

test-slow: $(VENV)/.installed-test  ## Only the tests that take long.
	$(VENV)/bin/python -m pytest -m slow

test-anomalib: $(VENV)/.installed-anomalib  ## Only what needs anomalib, which brings much along.
	$(VENV)/bin/python -c 'import anomalib'  # without it all of these are skipped
	$(VENV)/bin/python -m pytest tests/integrations tests/export

test-ray: $(VENV)/.installed-ray  ## Only what needs Ray, whose processes take minutes to come and go.
	$(VENV)/bin/python -c 'import ray'  # without it all of these are skipped
	$(VENV)/bin/python -m pytest tests/runs/test_cluster.py

benchmarks: $(VENV)/.installed-test  ## Measure all of docs/performance.md anew, and write it.
	$(VENV)/bin/python benchmarks/stages.py
	$(VENV)/bin/python benchmarks/capture_cost.py
	$(VENV)/bin/python benchmarks/one_at_a_time.py
	$(VENV)/bin/python benchmarks/soak.py --inspections 0 --kills 0

docs: $(VENV)/.installed-docs  ## Build the documentation site: site/index.html.
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --config-file website/mkdocs.yml

docs-version: $(VENV)/.installed-docs  ## Commit the site of VERSION to the branch gh-pages, as the latest.
	$(VENV)/bin/mike deploy --config-file website/mkdocs.yml --update-aliases $(VERSION) latest
	$(VENV)/bin/mike set-default --config-file website/mkdocs.yml latest

lint: $(VENV)/.installed-dev  ## Check format, style, types and the Dockerfile.
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/hadolint deploy/Dockerfile

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

lock:  ## Write the container's packages with their hashes; needs uv. torch has an index of its own.
	echo hatchling | uv pip compile --quiet pyproject.toml - --extra serve --extra postgres \
	  --constraint constraints.txt --generate-hashes --python-version 3.12 \
	  --python-platform x86_64-manylinux_2_28 --no-emit-package torch --no-annotate --no-header \
	  | awk '/^[a-z]/ {keep = !/^(cuda|nvidia|triton)/} keep' > deploy/requirements.lock

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "flawsight needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) torch
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[test]'
	@touch $@

$(VENV)/.installed-anomalib $(VENV)/.installed-ray: $(VENV)/.installed-test
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(@F:.installed-%=%)]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[docs]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@
