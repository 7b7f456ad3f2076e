# Environments: .venv runs the service without torch, .venv-train with torch, .venv-dev tests it, .venv-bench measures it.
# .venv has the hashes of requirements.lock, the others follow constraints.txt.
PYTHON ?= python3.11
PIP = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DATA_DIR ?=
PORT ?= 8000
# without stored bytecode each of the many processes that tests start would compile all that it imports
unexport PYTHONDONTWRITEBYTECODE
# OpenBLAS keeps a thread busy for each core, for matrices of two rows too
export OPENBLAS_NUM_THREADS = 1

.PHONY: wheel demo serve serve-train verify study test test-quick coverage check words lock audit chaos bench bench-cold bench-train load docs format clean

demo: .venv/installed ## Search through the real service, print the ranking, leave nothing behind
	@.venv/bin/python -m scripts.demo

serve: .venv/installed ## Run the service on 127.0.0.1:8000 until Ctrl-C
	@exec .venv/bin/nnmass serve --port $(PORT) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

serve-train: .venv-train/installed ## Run the service with torch, so that it can train networks (6 GB)
	@exec .venv-train/bin/nnmass serve --port $(PORT) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

verify: .venv-train/installed ## Search, train the best three and controls of equal cost, print the evidence (6 GB)
	@.venv-train/bin/python -m scripts.verify

study: .venv-train/installed ## Train grids of networks and write docs/study; IMAGES names a CIFAR-10 image folder or zip
	@.venv-train/bin/python -m scripts.study $(if $(IMAGES),--images $(IMAGES))

test: .venv-dev/installed ## Run the whole test suite, on all cores; PYTEST names other tests or options
	@.venv-dev/bin/python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder $(PYTEST)

coverage: .venv-dev/installed ## Run the tests as `make test` does, and report which lines of the product they reach
	@.venv-dev/bin/coverage erase
	@MEASURE_COVERAGE=yes .venv-dev/bin/python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder $(PYTEST)
	@.venv-dev/bin/coverage combine --quiet
	@.venv-dev/bin/coverage report --skip-covered

SLOW_TESTS = chaos client deploy generated gpu guide nets processes ui api/test_bad_input.py api/test_fuzz.py \
	api/test_made_by_worker.py api/test_tenants.py core/test_controls.py core/test_evidence.py core/test_limited.py \
	core/test_peaks.py core/test_random_cpsat.py core/test_search_cpsat.py core/test_search_exact.py \
	core/test_structure.py jobs/test_verification_tasks.py test_cli_export.py test_cli_processes.py test_docs.py \
	test_notebooks.py test_public_cases.py test_study.py

test-quick: .venv-dev/installed ## Run the tests that need no servers, browser or torch: two to three minutes on two cores
	@.venv-dev/bin/python -m pytest --numprocesses logical --dist loadfile -q -m "not slow and not servers and not processes" \
		--most-cases 1 $(addprefix --ignore tests/,$(SLOW_TESTS))

check: .venv-dev/installed ## Lint, formatting, spelling, wording, types and import contracts, as CI runs them
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/codespell
	.venv-dev/bin/python -m scripts.words
	.venv-dev/bin/mypy
	.venv-dev/bin/mypy tests scripts bench
	.venv-dev/bin/lint-imports

words: .venv-dev/installed ## List forbidden words, sentences and names, with what to write instead
	.venv-dev/bin/python -m scripts.words

wheel: ## Build the wheels of the library and of the service into dist/
	@$(PYTHON) -m scripts.wheels

lock: ## Pin the service's dependencies, with hashes; needs pip-tools
	pip-compile --quiet --generate-hashes --no-annotate --strip-extras --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --no-emit-options \
		--constraint constraints.txt --output-file requirements.lock pyproject.toml
	@sed -i '1i # What the service runs on without torch, for Linux and Python 3.11: exact versions and their hashes. Made by `make lock`.' requirements.lock

audit: .venv-dev/installed ## Check the locked packages for known vulnerabilities
	@.venv-dev/bin/python -m scripts.audit

bench: .venv-bench/installed ## Compare the search with solvers and samplers, on one core; SECONDS limits each of them
	@.venv-bench/bin/python -m bench.run $(if $(SECONDS),--seconds $(SECONDS))
	@.venv-bench/bin/python -m bench.hard --selection $(if $(SECONDS),--limit $(SECONDS))

bench-cold: .venv/installed ## Measure how long commands take from a cold start
	@.venv/bin/python -m bench.cold

bench-train: .venv-dev/installed ## Measure with torch: LDI against NN-Mass, and the throughput of modules and training
	@.venv-dev/bin/python -W ignore -m bench.ldi
	@.venv-dev/bin/python -W ignore -m bench.modules
	@.venv-dev/bin/python -W ignore -m bench.training
	@.venv-dev/bin/python -m bench.overhead

chaos: .venv-dev/installed ## Kill, freeze and fill everything while jobs run; ten minutes at most, with a table at the end
	@.venv-dev/bin/python -m tests.chaos $(CHAOS)

load: .venv-dev/installed ## Load the service on loopback, with a history of a million searches; ROWS and LASTING reduce it
	@.venv-dev/bin/python -m bench.load $(if $(ROWS),--rows $(ROWS)) $(if $(LASTING),--seconds $(LASTING))
	@.venv-dev/bin/python -m bench.sizing

docs: .venv-dev/installed ## Build the documentation into build/site, with a reference from the code
	@NO_MKDOCS_2_WARNING=1 .venv-dev/bin/python -m mkdocs build --quiet --strict
	@echo "build/site/index.html, or with search: .venv-dev/bin/python -m http.server --directory build/site"

format: .venv-dev/installed ## Format the code, and wrap the prose of the documentation
	.venv-dev/bin/ruff format .
	.venv-dev/bin/ruff check --fix .
	.venv-dev/bin/python -m scripts.wrap

clean: ## Remove the environments and caches
	rm -rf .venv .venv-dev .venv-train .venv-bench .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml requirements.lock
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@.venv/bin/python $(PIP) --no-deps --editable .
	@touch $@

.venv-dev/installed: pyproject.toml constraints.txt
	@echo "setting up .venv-dev (once)"
	@$(PYTHON) -m venv .venv-dev
	@# Python compiles what the tests import; compiling all of torch's modules takes a minute
	@.venv-dev/bin/python $(PIP) --no-compile --editable '.[test,dev,train,docs]'
	@touch $@

.venv-train/installed: pyproject.toml constraints.txt
	@echo "setting up .venv-train (once)"
	@$(PYTHON) -m venv .venv-train
	@.venv-train/bin/python $(PIP) --editable '.[train,study]'
	@touch $@

.venv-bench/installed: pyproject.toml constraints.txt
	@echo "setting up .venv-bench (once)"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python $(PIP) --editable '.[bench]'
	@touch $@
