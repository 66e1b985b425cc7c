PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?= grievance-retrain
VARIANT ?= cuda
# docker's client may be there without an engine.
ENGINE = $(shell for each in docker podman buildah; do $$each info >/dev/null 2>&1 && echo $$each && break; done)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
SOURCE ?= $(shell git remote get-url origin 2>/dev/null | sed 's|//[^/@]*@|//|')
argument = $(if $($(1)),--build-arg $(1)=$($(1)))
# The versions of the lock, without hashes: tests run on what the image has.
CONSTRAINTS := sed -n 's/^\([a-z0-9].*==.*\) \\$$/\1/p' requirements-cuda.lock
COMPILE = $(BIN)/uv pip compile requirements.txt --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"

.PHONY: rehearsal test lint bench image image-check lock audit sbom licenses clean

rehearsal: $(VENV)/installed  ## the whole job on this machine; LABEL=department, DATA=file.csv CHECKPOINT=folder
	@$(BIN)/python -m rehearsal

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile companion_spaces/*/Dockerfile
	$(BIN)/actionlint

bench: $(VENV)/installed  ## training against the plain recipe; CHECKPOINT=folder DATA=file.csv, or a tiny model
	$(BIN)/python -m benchmarks.training speed $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)) $(if $(DATA),--data $(DATA))
	$(BIN)/python -m benchmarks.live_comparison

image:  ## VARIANT=cpu needs PIP_EXTRA_INDEX_URL; IMAGE_OPTIONS are the engine's, such as --pull
	@test -n "$(ENGINE)" || { echo "None of docker, podman and buildah works here; docker: is its engine running?"; exit 1; }
	BUILDAH_FORMAT=docker BUILDAH_LAYERS=true $(ENGINE) build --tag $(IMAGE):$(VARIANT) $(call argument,VERSION) \
		$(call argument,SOURCE) $(call argument,PIP_EXTRA_INDEX_URL) \
		--build-arg REQUIREMENTS=requirements-$(VARIANT).lock $(IMAGE_OPTIONS) .

image-check: ENGINE = buildah
image-check: $(VENV)/installed image  ## as root, with buildah and runc
	$(BIN)/python -m rehearsal.image_check $(IMAGE):$(VARIANT)

lock: $(VENV)/installed  ## requirements.txt with all that it needs, by version and hash
	$(COMPILE) --output-file requirements-cuda.lock
	$(COMPILE) --torch-backend cpu --output-file requirements-cpu.lock

audit: $(VENV)/installed  ## known weaknesses; --strict: what could not be looked up is an error
	$(BIN)/pip-audit --strict --disable-pip --requirement requirements-cuda.lock

sbom: $(VENV)/installed
	$(BIN)/cyclonedx-py requirements requirements-cuda.lock --output-file sbom-cuda.cdx.json
	$(BIN)/cyclonedx-py requirements requirements-cpu.lock --output-file sbom-cpu.cdx.json

licenses: $(VENV)/installed
	$(BIN)/pip-licenses --format=markdown --no-version --with-system --output-file=docs/licenses.md \
		--packages $$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' requirements-cpu.lock)

$(VENV)/installed: requirements.txt requirements-dev.txt requirements-cuda.lock
	$(PYTHON) -m venv $(VENV)
	$(CONSTRAINTS) >$(VENV)/constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) rehearsal_run sbom-*.cdx.json
