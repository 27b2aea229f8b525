# Every target does the set-up it needs; `make help` lists them.
PYTHON ?= python3
export PYTHON

BIN := .venv/bin

.PHONY: setup report test long bench format lock clean help
.DEFAULT_GOAL := setup

setup: ## leave a working .venv/bin/mlmreport (the default)
	@bash .ci/setup

report: setup ## write the school achievement report
	@$(BIN)/mlmreport run analyses/school-achievement/analysis.yml

test: ## lint, check types, run the tests (or TESTS=tests/data of them)
	@bash .ci/setup tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@bash .ci/lint-r
	$(BIN)/pytest -n 2 -m "not long" $(TESTS)

long: setup ## run the tests that take long
	$(BIN)/pytest -n 2 -m long

BENCHMARKS := conversion startup refits report crossed many parts large
bench: setup ## run the benchmarks (75 min) but coverage.py, which takes an hour
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python "benchmarks/$$name.py" || exit 1; done

format: setup ## put the Python code into the project's layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup ## resolve the Python packages anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	  --custom-compile-command 'make lock' --extra test \
	  --no-emit-package rpy2 --no-emit-package rpy2-rinterface --no-emit-package rpy2-robjects \
	  pyproject.toml .ci/build.in --output-file .ci/requirements.lock

clean: ## remove .venv and all caches (reports stay)
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile
