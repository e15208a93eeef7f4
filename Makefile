# make demo: install, build the planted world, open the app.   make test: the whole suite.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: demo install test check slow bench

demo: install
	$(BIN)/rmviz demo $(ARGS)

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

test: install
	$(BIN)/pytest $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

slow: install
	$(BIN)/pytest -m slow $(ARGS)

bench: install
	$(BIN)/rmviz bench effects
	$(BIN)/rmviz bench sae
