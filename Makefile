# Everything sets itself up in .venv; all it needs is make and a Python >= 3.11.
#
#   make demo [SEED=n] [SECONDS=n]   watch the library work
#   make test                        all checks and all tests
#   make check                       ruff, mypy, pyright, import-linter
#   make test-all                    the tests on every Python of $(VERSIONS) that is installed
#   make test-oldest                the tests with the oldest HTTP clients that are supported
#   make soak                        the tests that take minutes
#   make effectiveness               what the policies do to scenarios of failure, in virtual time
#   make check-model                 the circuit against its model, in every interleaving of 4 calls
#   make mutate [MUTATE="*.places.*"] change the circuit one place at a time: a test must fail
#   make bench [BENCH="calls --quick"] measure the overhead and update the pages of benchmarks/
#   make bench-compare BASE=commit   this working tree against another commit, in one process
#   make format                      let ruff format and fix
#   make clean                       remove all that the above made

VENV ?= .venv
VERSIONS ?= 3.11 3.12 3.13
PYTEST ?=
MUTATE ?=
BENCH ?=
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)

# The first that works: a name on the PATH may be a shim for a version that is not installed.
PYTHON ?= $(shell for candidate in python3 python python3.13 python3.12 python3.11 python3.14; do \
	"$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
		>/dev/null 2>&1 && command -v "$$candidate" && break; done)

bin := $(VENV)/bin
# What runs side by side is told one after the other, where make can do that.
OUTPUT := $(if $(filter output-sync,$(.FEATURES)),--output-sync)
.DEFAULT_GOAL := test
.PHONY: demo test check check-model mutate effectiveness test-all test-oldest soak bench bench-compare format clean pytest ruff mypy pyright imports

demo: $(VENV)/.demo
	@$(bin)/python -m benchmarks.demo $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

# Goes on after a failure: one run shows all that is wrong. The checks run beside each other; the
# tests, some of which go by real time, run alone.
test: $(VENV)/.dev
	@status=0; \
	$(MAKE) --no-print-directory --keep-going --jobs $(OUTPUT) check || status=$$?; \
	$(MAKE) --no-print-directory pytest || status=$$?; \
	exit $$status

check: ruff mypy pyright imports

pytest: $(VENV)/.dev
	$(bin)/python -m pytest -n auto --dist worksteal $(PYTEST)

ruff: $(VENV)/.dev
	$(bin)/ruff check
	$(bin)/ruff format --check

mypy: $(VENV)/.dev
	$(bin)/mypy src $(wildcard tests/typing)

# It would else look into whichever python comes first on the PATH.
pyright: $(VENV)/.dev
	$(bin)/pyright --pythonpath $(bin)/python

imports: $(VENV)/.dev
	$(bin)/lint-imports --no-logo

test-all:
	@for version in $(VERSIONS); do \
		python=; \
		for candidate in "python$$version" "$$HOME"/.pyenv/versions/"$$version".*/bin/python; do \
			if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
		done; \
		if [ -z "$$python" ]; then echo "== Python $$version is not installed: skipped"; continue; fi; \
		echo "== Python $$version"; \
		$(MAKE) --no-print-directory pytest VENV="$(VENV)-$$version" PYTHON="$$python" || exit 1; \
	done

test-oldest: $(VENV)-oldest/.oldest
	$(VENV)-oldest/bin/python -m pytest -n auto --dist worksteal tests/core tests/policies tests/cancellation tests/leaks tests/http tests/testing $(PYTEST)

soak: $(VENV)/.dev
	$(bin)/python -m pytest -m soak

effectiveness: $(VENV)/.dev
	$(bin)/python -m pytest -m "effectiveness and not soak" -n auto

check-model: $(VENV)/.dev
	$(bin)/python -m tests.policies.circuit.exhaustive --calls 4

# Results of an earlier run would be of earlier tests.
mutate: $(VENV)/.mutation
	rm -rf mutants
	$(bin)/mutmut run --max-children $(JOBS) $(MUTATE:%='%')
	$(bin)/python -m tests.mutants

bench: $(VENV)/.bench
	$(bin)/python -m benchmarks.overhead $(BENCH)

bench-compare: $(VENV)/.bench
	@test -n "$(BASE)" || { echo "Say what to compare with: make bench-compare BASE=main" >&2; exit 1; }
	$(bin)/python -m benchmarks.overhead.compare $(BASE) $(BENCH)

format: $(VENV)/.dev
	$(bin)/ruff format
	$(bin)/ruff check --fix

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VERSIONS:%=$(VENV)-%) dist build mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per set of dependencies: a repeat is instant, and a changed pyproject.toml installs anew.
$(VENV)/.pip:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 (with venv and ensurepip) was found. Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV) ($$("$(PYTHON)" --version))"
	@"$(PYTHON)" -m venv $(VENV)
	@# --group is known to pip since 25.1.
	@$(bin)/python -m pip install -qq --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.dev: $(VENV)/.pip pyproject.toml
	$(bin)/python -m pip install -qq --editable . --group dev
	@touch $@ $(VENV)/.demo

$(VENV)-oldest/.oldest: pyproject.toml
	@$(MAKE) --no-print-directory VENV=$(VENV)-oldest $(VENV)-oldest/.pip
	$(VENV)-oldest/bin/python -m pip install -qq --editable . --group oldest
	@touch $@

$(VENV)/.demo: $(VENV)/.pip pyproject.toml
	$(bin)/python -m pip install -qq --editable . --group demo
	@touch $@

$(VENV)/.mutation: $(VENV)/.pip pyproject.toml
	$(bin)/python -m pip install -qq --editable . --group mutation
	@touch $@

$(VENV)/.bench: $(VENV)/.pip pyproject.toml
	$(bin)/python -m pip install -qq --editable . --group benchmarks
	@touch $@
