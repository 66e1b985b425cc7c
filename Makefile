PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: rehearsal test lint bench clean

rehearsal: $(VENV)/installed  ## the whole job on this machine; LABEL=department, DATA=file.csv CHECKPOINT=folder
	@$(BIN)/python -m rehearsal

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed  ## training against the plain recipe; CHECKPOINT=folder DATA=file.csv, or a tiny model
	$(BIN)/python -m benchmarks.training speed $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)) $(if $(DATA),--data $(DATA))
	$(BIN)/python -m benchmarks.live_comparison

$(VENV)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) rehearsal_run
