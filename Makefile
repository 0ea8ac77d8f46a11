# Everything runs in .venv, which `make install` creates with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
# Of pip's hundreds of lines those that show that it goes on, and whether it failed.
PROGRESS = awk '/^Collecting/ && ++n % 25 == 0 { print "  " n " packages so far" } \
	/^Installing collected/ { print "Installing " (NF - 3) " in all …" } \
	/^FAILED$$/ { failed = 1 } { fflush() } END { exit failed }'
TYPES := .types/prefect_imagine
MAPPED := flows tasks blocks
# Many tests wait for servers, so there are more workers than processors. What they load is compiled once.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --dist worksteal
# As a module: mkdocs then finds the hooks of docs/_generate. The variable keeps an advertisement quiet.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint types docs docs-serve bench fleet chaos clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## create .venv with the prefect-imagine command and all tools

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@echo "Installing the prefect-imagine command and its tools into $(VENV): a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
	@echo "Looking for packages, and downloading those that are new …"
	@($(PIP) install --progress-bar off --editable '.[dev]' --constraint constraints.txt || echo FAILED) | $(PROGRESS)
	@echo "Checking that the packages fit together …"
	$(PIP) check
	@touch $@

demo: install ## run the main job against the sandbox; S3=1 stores in a real S3 server
	$(BIN)/prefect-imagine demo $(if $(filter-out 0,$(S3)),--s3)

test: install ## run the tests, but for the long ones: a few minutes
	$(PYTEST) -n 6 -m 'not long' $(ARGS)

test-all: install ## run all tests: also kills, whole deployments, browsers, installations
	$(PYTEST) -n 3 $(ARGS)

lint: install ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: install ## check types, strictly
	@# mypy cannot follow package-dir in an editable install: it gets the layout as links.
	@rm -rf .types && mkdir -p $(TYPES)
	@for file in prefect_imagine/*; do ln -s ../../$$file $(TYPES)/; done
	@for folder in $(MAPPED); do ln -s ../../$$folder $(TYPES)/; done
	$(BIN)/mypy $(TYPES) tests benchmarks docs examples/plugin/src examples/plugin/tests

docs: install ## build the documentation as a site, into site/
	$(MKDOCS) build --quiet

docs-serve: install ## show the site at 127.0.0.1:PORT (8000), and again whenever a page is saved
	$(MKDOCS) serve --dev-addr 127.0.0.1:$(or $(PORT),8000)

chaos: install ## kill the command line KILLS times (default 200) and check the books
	$(BIN)/python -m tests.chaos --kills $(or $(KILLS),200) $(if $(SEED),--seed $(SEED))

bench: install ## measure against a naive flow and the limit's own bound
	$(BIN)/python -m benchmarks $(ARGS)

fleet: install ## run a batch on WORKERS workers (default 4) of a Prefect server with PostgreSQL and Redis
	$(BIN)/python -m benchmarks.stack --workers $(or $(WORKERS),4) $(ARGS)

clean: ## remove everything that was made
	rm -rf $(VENV) .types site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
