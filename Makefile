# Every target sets up .venv by itself when it is missing and is quick when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
NEEDS := pyproject.toml constraints.txt
LOCKED := pretrained,app,pdf,docs,ray,bench,dev
# one thread for each worker; bytecode is kept: tests start many processes, and each would compile all of xai
QUICK := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help install app test test-docs torture check bench docs train-examples figures notebooks lock clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "xai needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing torch (once, about 200 MB) ..."
	@$(PIP) install $$(grep '^torch==' constraints.txt)
	@touch $@

$(VENV)/.user: $(VENV)/.torch $(NEEDS)
	@echo "Installing xai with its pretrained model and dashboard ..."
	@$(PIP) install -c constraints.txt -e '.[pretrained,app]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch $(NEEDS)
	@echo "Installing xai with what its tests and benchmarks need ..."
	@$(PIP) install -c constraints.txt -e '.[$(LOCKED)]'
	@touch $@ $(VENV)/.user

install: $(VENV)/.user  ## set up .venv with xai, the pretrained model and the dashboard

app: $(VENV)/.user  ## open the dashboard in the browser (PORT=8502 for another port)
	@$(BIN)/streamlit run app.py $(if $(PORT),--server.port $(PORT))

# Three workers on two cores: many tests wait for browsers, servers and processes that are killed.
test: $(VENV)/.dev  ## run the tests, three at a time, without the slow ones (ARGS="tests/core" for some)
	@$(QUICK) $(BIN)/python -m pytest -n 3 --dist loadscope -m "not slow and not docs" $(ARGS)

test-docs: $(VENV)/.dev  ## build the documentation, do what its pages say, run the notebooks
	@$(QUICK) $(BIN)/python -m pytest -n 2 --dist worksteal -m docs tests/docs $(ARGS)

torture: $(VENV)/.dev  ## run the slow tests: known networks whole, official AutoAttack, error rates by simulation
	@$(QUICK) $(BIN)/python -m pytest -n 2 --dist loadscope -m slow $(ARGS)

check: $(VENV)/.dev  ## lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.dev  ## print the ratios against the peers (ARGS="gradcam" for some)
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.dev  ## build the documentation into build/docs; a warning is an error
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs $(ARGS)
	@echo build/docs/index.html

train-examples: $(VENV)/.dev  ## make data/ again: images, example networks, cards
	@$(BIN)/python scripts/train_examples.py

figures: $(VENV)/.dev  ## make the images of README and docs again
	@$(BIN)/python scripts/make_figures.py
	@$(BIN)/python scripts/make_method_figures.py

notebooks: $(VENV)/.dev  ## run the notebooks and keep what they show (ARGS="05" for some)
	@$(BIN)/python scripts/make_notebooks.py $(ARGS)

lock: TORCH = $$(grep '^torch==' constraints.txt)
lock:  ## write constraints.txt anew from a fresh environment; torch stays as pinned there
	@$(PYTHON) -m venv --clear build/lock
	@build/lock/bin/python -m pip -q install $(TORCH)
	@build/lock/bin/python -m pip -q install $(TORCH) -e '.[$(LOCKED)]'
	@head -2 constraints.txt > build/constraints.txt
	@build/lock/bin/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' >> build/constraints.txt
	@mv build/constraints.txt constraints.txt
	@rm -rf build/lock

clean:  ## remove .venv and caches
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
