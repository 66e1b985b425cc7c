PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?= grievance-retrain
VARIANT ?= cuda
# Docker's client may be installed without a running engine.
ENGINE = $(shell for each in docker podman buildah; do $$each info >/dev/null 2>&1 && echo $$each && break; done)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
SOURCE ?= $(shell git remote get-url origin 2>/dev/null | sed 's|//[^/@]*@|//|')
argument = $(if $($(1)),--build-arg $(1)=$($(1)))
# The locked versions without their hashes, so that tests run on what the image contains.
CONSTRAINTS := sed -n 's/^\([a-z0-9].*==.*\) \\$$/\1/p' requirements-cuda.lock
COMPILE = $(BIN)/uv pip compile requirements.txt --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"

.PHONY: help rehearsal rehearsal-loop test test-unit lint catalogue bench image image-check lock audit sbom licenses clean

# The first target is what a bare `make` runs.
help:  ## list the targets
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

rehearsal: $(VENV)/installed  ## run the whole job on this machine (LABEL=department, DATA=file.csv CHECKPOINT=folder, KEEP=1)
	@$(BIN)/python -m rehearsal

rehearsal-loop: $(VENV)/installed  ## turn the whole wheel on this machine: corrections, review, data set, model
	@$(BIN)/python -m rehearsal.wheel

test: $(VENV)/installed  ## run all tests, offline
	$(BIN)/python -m pytest

test-unit: $(VENV)/installed  ## run the unit tests only
	$(BIN)/python -m pytest tests/unit

lint: $(VENV)/installed  ## check formatting, lint, types, imports, Dockerfiles and workflows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=$(VENV)/trunk $(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile companion_spaces/*/Dockerfile
	$(BIN)/actionlint

catalogue: $(VENV)/installed  ## collect the sentences of page, report and message, and compile their translations
	$(BIN)/pybabel -q extract -F pyproject.toml -k N_ -o $(VENV)/retrain.pot --no-location --sort-output \
		--project grievance-retrain --copyright-holder "" \
		retrain train_model.py model_pipeline.py companion_spaces/prepare_dataset
	$(BIN)/pybabel -q update -i $(VENV)/retrain.pot -d retrain/locale -D retrain --no-fuzzy-matching --ignore-obsolete \
		--ignore-pot-creation-date --no-wrap
	$(BIN)/pybabel -q compile -d retrain/locale -D retrain

bench: $(VENV)/installed  ## measure training against the plain recipe (CHECKPOINT=folder DATA=file.csv, or a tiny model)
	$(BIN)/python -m benchmarks.training speed $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)) $(if $(DATA),--data $(DATA))
	$(BIN)/python -m benchmarks.live_comparison

image:  ## build the image (VARIANT=cpu needs PIP_EXTRA_INDEX_URL; IMAGE_OPTIONS go to the engine)
	@test -n "$(ENGINE)" || { echo "None of docker, podman and buildah works here; docker: is its engine running?"; exit 1; }
	BUILDAH_FORMAT=docker BUILDAH_LAYERS=true $(ENGINE) build --tag $(IMAGE):$(VARIANT) $(call argument,VERSION) \
		$(call argument,SOURCE) $(call argument,PIP_EXTRA_INDEX_URL) \
		--build-arg REQUIREMENTS=requirements-$(VARIANT).lock $(IMAGE_OPTIONS) .

image-check: ENGINE = buildah
image-check: $(VENV)/installed image  ## run the rehearsal in the built image (as root, with buildah and runc)
	$(BIN)/python -m rehearsal.image_check $(IMAGE):$(VARIANT)

lock: $(VENV)/installed  ## pin requirements.txt and all dependencies by version and hash
	$(COMPILE) --output-file requirements-cuda.lock
	$(COMPILE) --torch-backend cpu --output-file requirements-cpu.lock

audit: $(VENV)/installed  ## look up known vulnerabilities (a package that can't be looked up is an error)
	$(BIN)/pip-audit --strict --disable-pip --requirement requirements-cuda.lock

sbom: $(VENV)/installed  ## write a CycloneDX bill of materials for each variant
	$(BIN)/cyclonedx-py requirements requirements-cuda.lock --output-file sbom-cuda.cdx.json
	$(BIN)/cyclonedx-py requirements requirements-cpu.lock --output-file sbom-cpu.cdx.json

licenses: $(VENV)/installed  ## write docs/licenses.md
	$(BIN)/pip-licenses --format=markdown --no-version --with-system --output-file=docs/licenses.md \
		--packages $$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' requirements-cpu.lock)

$(VENV)/installed: requirements.txt requirements-dev.txt requirements-cuda.lock
	$(PYTHON) -m venv $(VENV)
	$(CONSTRAINTS) >$(VENV)/constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -r requirements-dev.txt
	@# import-linter sees packages only: the files of the root as one, by links.
	@mkdir -p $(VENV)/trunk/trunk && touch $(VENV)/trunk/trunk/__init__.py && ln -sf $(CURDIR)/*.py $(VENV)/trunk/trunk/
	@touch $@

clean:  ## remove .venv, the rehearsal and the bills of materials
	rm -rf $(VENV) rehearsal_run sbom-*.cdx.json
