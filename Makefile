# Everything starts here: each target makes the virtual environment itself, and again when the pinned packages change.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON := $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $(name))))
VENV := .venv
READY := $(VENV)/ready
BIN := $(VENV)/bin

.PHONY: help demo test bench soak fuzz check format lock clean

help:
	@echo 'make demo    a running city on this machine (options in ARGS="…"; Ctrl-C stops it)'
	@echo 'make test    every check and every test, on a real database and a real broker'
	@echo 'make bench   what the product costs beside plain COPY or a peer (ONLY=ingest, rollup, peers, …; options in ARGS="…")'
	@echo 'make soak    seeded runs of kills, cuts and faults, an hour at most (ONLY=ingest; options in ARGS="…")'
	@echo 'make fuzz    a decoder fed by the fuzzer for a minute (ONLY=json, csv, packed or frames; options in ARGS="…")'
	@echo 'make check   format, lint, types, arrows'

$(READY): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed; on Debian or Ubuntu: apt-get install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY)
	@exec $(BIN)/tcewatch demo $(ARGS)

test: check
	$(BIN)/python -m pytest $(ARGS)

bench: $(READY)
	$(BIN)/python -m tests.bench $(ONLY) $(ARGS)

soak: $(READY)
	$(BIN)/python -m tests.soak $(or $(ONLY),ingest) $(ARGS)

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz $(or $(ONLY),json) $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_arrows.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pinned packages, with their hashes and without the address of any index. Needs uv.
lock:
	uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--universal --python-version 3.11 -o requirements/run.txt
	uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--universal --python-version 3.11 -o requirements/dev.txt
	echo 'hatchling>=1.27' | uv pip compile - --constraint requirements/dev.txt --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --universal --python-version 3.11 -o requirements/build.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
