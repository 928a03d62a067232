# `make demo` runs the main job, `make test` the tests; both install what they need into .venv.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
N ?= 300
SEED ?=

.PHONY: help demo up doctor test chaos check format lock bench clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed ## photos to LoRA, pictures and a clip, on this machine (ARGS=--exit stops at the end)
	@$(BIN)/influencerai demo $(ARGS)

up: $(VENV)/.installed ## the same stack without the demo's content; Ctrl-C stops it
	@$(BIN)/influencerai up $(ARGS)

doctor: $(VENV)/.installed ## check every part of the running stack
	@$(BIN)/influencerai doctor $(ARGS)

test: $(VENV)/.installed ## all tests
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(VENV)/.installed ## jobs while everything breaks (N=5000 is the long form; SEED=… replays a run)
	@$(BIN)/python -m influencerai_dagster_tests.chaos --jobs $(N) $(if $(SEED),--seed $(SEED))

check: $(VENV)/.installed ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed ## rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.installed ## the benchmarks of docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(VENV)/.installed ## write requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-strip-extras \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --quiet \
	    --custom-compile-command "make lock" --output-file requirements.lock

clean: ## remove the venv and everything that the stack wrote
	rm -rf $(VENV) && git clean -fdXq data

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing into $(VENV) (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
