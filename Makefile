# .venv runs the service and has no torch; .venv-dev tests it; .venv-bench measures. All follow constraints.txt.
PYTHON ?= python3.11
PIP = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DATA_DIR ?=
PORT ?= 8000

.PHONY: demo serve test check bench bench-train format clean

demo: .venv/installed ## Search through the real service, print the ranking, leave nothing behind
	@.venv/bin/python scripts/demo.py

serve: .venv/installed ## Run the service on 127.0.0.1:8000 until Ctrl-C
	@exec .venv/bin/nnmass serve --port $(PORT) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

test: .venv-dev/installed ## Run the whole test suite
	@.venv-dev/bin/python -m pytest $(PYTEST)

check: .venv-dev/installed ## Lint, formatting, types and import contracts, as CI runs them
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy
	.venv-dev/bin/mypy tests scripts bench
	.venv-dev/bin/lint-imports

bench: .venv-bench/installed ## Measure beside what else could be used, on one core; SECONDS bounds each rival
	@.venv-bench/bin/python -m bench.run $(if $(SECONDS),--seconds $(SECONDS))

bench-train: .venv-dev/installed ## Measure what needs torch: LDI against NN-Mass, and the modules' throughput
	@.venv-dev/bin/python -W ignore -m bench.ldi
	@.venv-dev/bin/python -W ignore -m bench.modules

format: .venv-dev/installed ## Format the code
	.venv-dev/bin/ruff format .
	.venv-dev/bin/ruff check --fix .

clean: ## Remove the environments and caches
	rm -rf .venv .venv-dev .venv-bench .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python $(PIP) --editable .
	@touch $@

.venv-dev/installed: pyproject.toml constraints.txt
	@echo "setting up .venv-dev (once)"
	@$(PYTHON) -m venv .venv-dev
	@.venv-dev/bin/python $(PIP) --editable '.[test,dev,train]'
	@touch $@

.venv-bench/installed: pyproject.toml constraints.txt
	@echo "setting up .venv-bench (once)"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python $(PIP) --editable '.[bench]'
	@touch $@
