# GNU make 3.81 or newer and a POSIX shell. Plain `make` prints the targets.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/installed
# What builds the site, in an environment of its own: the server starts without it.
DOCS   := $(VENV)/docs
# Where `make demo` plays: paper, or emulated.
VENUES := paper
# What asks for known holes, in an environment of its own: it adds nothing to what it looks at.
PIP_AUDIT := 2.10.1
# More words for `make matrix`, such as --sample 2.
ASK    :=
# The money functions: every branch of them is tested.
MONEY  := trading/sizing.py,trading/rounding.py,trading/ladder.py,trading/lifecycle.py,trading/reconcile.py,trading/pnl.py,trading/matching.py

.DEFAULT_GOAL := help
.PHONY: help install run test slow matrix demo lint fmt docs check release bench migrate audit

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: $(STAMP) ## .venv with all that run and test need (Python 3.11 or newer)

run: install ## the server on 127.0.0.1:$PORT, with its runner (8000 unless set)
	@$(PYTHON) -m desk.up

# Tests start this project's processes hundreds of times: compiled once, whatever the environment says.
test slow matrix: export PYTHONDONTWRITEBYTECODE :=

test: install ## the test suite, and the coverage that it must reach
	@sh tests/web/browser.sh $(PYTHON)
	$(PYTHON) -m pytest -n 4 --dist worksteal -m "not slow and not live" --cov --cov-report=
	$(PYTHON) -m coverage report --fail-under=100 --include="$(MONEY)"
	$(PYTHON) -m coverage report --fail-under=90

slow: install ## the slow tests, which `make test` leaves out
	$(PYTHON) -m pytest -n 4 --dist worksteal -m "slow and not live"

matrix: install ## the crash matrix: kill -9 between any two effects (docs/reliability.md)
	$(PYTHON) -m tests.matrix $(ASK)

demo: install ## alertmodel.txt told line by line, on paper (or VENUES=emulated)
	@$(PYTHON) -m desk.demo --venues $(VENUES)

lint: install ## ruff, mypy and vulture
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m vulture
	$(PYTHON) -m vulture --config tests/vulture.toml

fmt: install ## let ruff rewrite what it can
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: $(DOCS)/installed ## the site of docs/, into site/ (any warning is an error)
	@$(DOCS)/bin/python -m openapi_spec_validator docs/openapi.json
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict --clean
	@echo "site/index.html"

check: lint docs test ## lint, docs and test

release: lint ## whether this tree can be released, and what to type then (does nothing)
	@$(PYTHON) -m tests.release

bench: install ## the benchmarks: one table; half an hour on a quiet machine
	@$(PYTHON) -m tests.bench $(ASK)
	@$(PYTHON) -m tests.bench.pages

migrate: install ## bring the database to this version
	@$(PYTHON) -m desk.migrate

audit: install ## known holes in what is installed (asks the network)
	@test -x $(VENV)/audit/bin/python || $(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==$(PIP_AUDIT)
	$(VENV)/audit/bin/pip-audit --strict --requirement requirements.txt --no-deps --disable-pip

# Two installers side by side, since each list is complete, and compiled on all cores, where pip would use one; what
# cannot be compiled is a template, and no module.
$(STAMP): requirements.txt requirements-dev.txt
	@set -e; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(PYTHON) -c "$$new_enough" 2>/dev/null; then \
	  for python in python3.13 python3.12 python3.11 python3; do \
	    if $$python -c "$$new_enough" 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "Python 3.11 or newer is needed, and none is on the PATH" >&2; exit 1; fi; \
	  echo "$(VENV): $$($$found --version)"; \
	  if ! $$found -m venv --clear $(VENV); then \
	    echo "$$found cannot make a virtual environment: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; \
	  fi; \
	fi; \
	echo "installing into $(VENV)"; \
	pip="$(PYTHON) -m pip --quiet --disable-pip-version-check install --no-compile --no-deps"; \
	$$pip -r requirements.txt & server=$$!; \
	grep -v '^-r ' requirements-dev.txt | $$pip -r /dev/stdin; \
	wait $$server; \
	$(PYTHON) -m compileall -qq -j 0 $(VENV)/lib || :; \
	touch $@

$(DOCS)/installed: requirements-docs.txt | $(STAMP)
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@
