# Everything sets itself up: a virtual environment in .venv, made with Python's own venv and pip.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/pytest --numprocesses auto --dist worksteal

.PHONY: demo check test lowest torture lint docs benchmark clean

# Draw a COCO-format data set and compare the four models on it: about three minutes on two cores.
demo: .venv/ready data/demo
	$(BIN)/vae-zoo compare --config configs/compare/small.yaml
	@echo
	@echo "Open      comparison/small/report.html"

data/demo: | .venv/ready
	$(BIN)/vae-zoo data shapes --out $@ --n 3000

# What to run before each commit: the linters, the type checker, and the tests that train nothing. Under a minute.
check: lint
	$(PYTEST) -m "not slow"

# All tests, those that train, too.
test: .venv/ready
	$(PYTEST)

# The tests of what is not trusted, with the lowest versions that pyproject.toml allows, in an environment of their own.
lowest: .venv-lowest/ready
	.venv-lowest/bin/pytest --numprocesses auto tests/test_trust.py tests/test_checkpoints.py

# Thousands of damaged files, mistaken calls and killed commands, and a table of what came of them: under 30 minutes.
torture: .venv/ready
	$(BIN)/python -m tests.torture

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation, from docs/ to build/docs/index.html; a warning is an error.
docs: .venv/ready-docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs
	@echo "Open      build/docs/index.html"

# Compare the speed with what is recorded, all of it in ratios of one run: under ten minutes.
benchmark: .venv/ready
	$(BIN)/python benchmarks/short.py

.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("vae_zoo needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[dev]'
	touch $@

.venv-lowest/ready: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*project["dependencies"], sep="\n")' | sed 's/>=/==/' > .venv-lowest/versions.txt
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check --requirement .venv-lowest/versions.txt pytest pytest-xdist --editable .
	touch $@

.venv/ready-docs: .venv/ready
	$(PIP) --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv .venv-lowest data/demo build *.egg-info .pytest_cache .ruff_cache .mypy_cache
