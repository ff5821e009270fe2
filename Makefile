# Everything sets itself up: a virtual environment in .venv, made with Python's own venv and pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint benchmark clean

# Draw a COCO-format data set, train a VAE on it, test it: about two minutes on two cores.
demo: .venv/ready data/demo
	$(BIN)/vae-zoo fit --config configs/vae.yaml --data.root data/demo --data.cache_dir cache \
	  --data.n_train 2500 --data.n_test 400 --data.n_val 100 --trainer.max_epochs 15
	$(BIN)/vae-zoo test
	@echo
	@echo "Look at   the pictures in images/ and the figures in results.json of the run folder named above,"
	@echo "or at     $(BIN)/tensorboard --logdir runs"

data/demo: | .venv/ready
	$(BIN)/vae-zoo data shapes --out $@ --n 3000

test: .venv/ready
	$(BIN)/pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: .venv/ready
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/models.py

.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("vae_zoo needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv data/demo build *.egg-info .pytest_cache .ruff_cache .mypy_cache
