# Simple Drive from a checkout. `make run` is all that a first start needs: Python 3.11+, make and pip (or uv).
#
# Three environments, so that what serves is never what tests: .venv (run), .venv-test, .venv-lint. Each is
# installed from its lock file, hashes checked, and only again when that lock has changed.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
ARGS ?=

MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test coverage soak lint format bench lock wheel clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: .venv/.installed ## install what is missing, then serve (HOST=... PORT=... as you like)
	@exec .venv/bin/gunicorn -c gunicorn.conf.py wsgi:app

test: .venv-test/.installed ## the tests (or some of them: ARGS="-k name")
	.venv-test/bin/python -m pytest $(or $(ARGS),-n 2)

# Not part of `make test`: before Python 3.12 counting lines costs half as much again as the tests themselves.
coverage: .venv-test/.installed ## the tests, and what of the code they run; fails below 95 %
	.venv-test/bin/python -m pytest -n 2 --cov --cov-report=term $(ARGS)

soak: .venv-test/.installed ## the tests that take minutes and gigabytes
	.venv-test/bin/python -m pytest -m soak $(ARGS)

lint: .venv-lint/.installed ## ruff and mypy
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/mypy

format: .venv-lint/.installed ## rewrite in the house's format
	.venv-lint/bin/ruff check --fix-only .
	.venv-lint/bin/ruff format .

bench: .venv/.installed ## measure, side by side with what the machine can do
	.venv/bin/python bench/run.py $(ARGS)

# uv resolves for all systems and Python versions at once; pip cannot. `make lock ARGS=--upgrade` takes newer ones.
compile = $(or $(UV),.venv-lock/bin/uv) pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	$(ARGS) pyproject.toml
lock: $(if $(UV),,.venv-lock/bin/uv) ## resolve the dependencies of pyproject.toml anew
	$(compile) --output-file requirements/run.txt
	$(compile) --group test --constraint requirements/run.txt --output-file requirements/test.txt
	$(compile) --group lint --constraint requirements/run.txt --output-file requirements/lint.txt

.venv-lock/bin/uv:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv

wheel: ## dist/simpledrive-VERSION-py3-none-any.whl, and the sdist
	$(if $(UV),$(UV) build,$(PYTHON) -m venv .venv-build && .venv-build/bin/python -m pip install --quiet build \
		&& .venv-build/bin/python -m build)

clean: ## remove everything that make made; instance/ with your data stays
	rm -rf .venv .venv-test .venv-lint .venv-lock .venv-build dist build .coverage .coverage.* htmlcov __pycache__ \
		.pytest_cache .mypy_cache .ruff_cache
	find simpledrive tests migrations bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp of an environment is a copy of the lock that it was installed from, so that a checkout that touches the
# lock without changing it installs nothing.
.venv/.installed: requirements/run.txt
.venv-test/.installed: requirements/test.txt
.venv-lint/.installed: requirements/lint.txt
.venv/.installed .venv-test/.installed .venv-lint/.installed:
	@if cmp -s $< $@; then touch $@; else \
		$(PYTHON) -c '$(python_check)' && echo "Installing $< into $(@D)" && $(install) && cp $< $@; fi

python_check = import sys; sys.exit(sys.version_info < (3, 11) and \
	"Simple Drive needs Python 3.11 or newer: make PYTHON=python3.11 ...")
ifdef UV
install = $(UV) venv --quiet --allow-existing --python $(PYTHON) $(@D) \
	&& $(UV) pip sync --quiet --require-hashes --python $(@D)/bin/python $<
else
install = $(PYTHON) -m venv $(@D) \
	&& $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
endif
