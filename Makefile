# `make demo` runs the main job, `make test` the tests; both install what they need into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHONS := 3.11 3.12 3.13
PYTHON ?= $(shell for v in $(PYTHONS); do python$$v -c '' 2>/dev/null && { command -v python$$v; exit; }; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
N ?= 300
SEED ?=

.PHONY: help demo up doctor test test-unit chaos s3-matrix check format lock bench screenshots clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed ## photos to LoRA, images and a video, on this machine (ARGS=--exit stops at the end)
	@$(BIN)/influencerai demo $(ARGS)

up: $(VENV)/.installed ## the same stack without the demo's content; Ctrl-C stops it
	@$(BIN)/influencerai up $(ARGS)

doctor: $(VENV)/.installed ## check every part of the running stack
	@$(BIN)/influencerai doctor $(ARGS)

# Tests start hundreds of Pythons: none of them has to compile the project again.
test test-unit chaos: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/.installed ## all tests
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-unit: $(VENV)/.installed ## the tests that need no server: seconds
	@$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder influencerai_dagster_tests/unit $(ARGS)

chaos: $(VENV)/.installed ## jobs while everything breaks (N=5000 is the long form; SEED=… replays a run)
	@$(BIN)/python -m influencerai_dagster_tests.chaos --jobs $(N) $(if $(SEED),--seed $(SEED))

s3-matrix: $(VENV)/.installed ## ask every S3 server that can be had, into docs/s3-servers.md (ARGS="MinIO moto" asks some)
	@$(BIN)/python -m influencerai_dagster_tests.s3_matrix $(ARGS)

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

screenshots: $(VENV)/.installed ## the screenshots of README and docs, from a running `make demo`; needs Chromium
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv run --no-project --with playwright==1.65.2 python docs/images/make_screenshots.py

lock: $(VENV)/.installed ## write requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-strip-extras \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --quiet \
	    --custom-compile-command "make lock" --output-file requirements.lock

clean: ## remove the venv and everything that the stack wrote
	rm -rf $(VENV) .venv-* && git clean -fdXq data

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python (Debian, Ubuntu: sudo apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split())' || { echo "$(PYTHON) is $$($(PYTHON) --version), but this project needs one of Python $(PYTHONS): install it, or name it: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment: install its venv package (Debian, Ubuntu: sudo apt-get install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')), then run make $(MAKECMDGOALS) again"; exit 1; }
	@free=$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1024)}'); [ "$$free" -ge $(NEEDED_MB) ] || { echo "only $$free MB are free in $(CURDIR), but the installation takes $(NEEDED_MB) MB: make space, or clone to another disk"; exit 1; }
	@echo "step 1 of 3: making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@total=$$(grep -cE '^[a-z0-9].*==' requirements.lock); echo "step 2 of 3: downloading $$total packages (about 320 MB the first time) and installing them: one to three minutes"; \
	    $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-deps --requirement requirements.lock | \
	    $(SHELL) -c "$$PIP_PROGRESS" progress $$total
	@echo "step 3 of 3: installing this project"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

NEEDED_MB := 2000

# One line of pip's many: which package of how many.
define PIP_PROGRESS
number=0
while read -r word name _; do
  case "$$word $$name" in
    "Collecting "*) number=$$((number + 1))
      if [ -t 1 ]; then printf '\r\033[K  %d of %d: %s' $$number $$1 "$$name"
      elif [ $$((number % 40)) -eq 0 ]; then printf '  %d of %d\n' $$number $$1; fi ;;
    "Installing collected") [ ! -t 1 ] || printf '\r\033[K'; echo "  all are there, installing them" ;;
  esac
done
endef
export PIP_PROGRESS
