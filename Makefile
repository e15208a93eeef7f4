# make demo: install, build the planted world, open the app.   make test: the whole suite.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
KILLS ?= 200
LEFT_OUT := not slow and not gpu and not network and not ray

.PHONY: demo install test test-ray soak sessions check slow bench

demo: install
	$(BIN)/rmviz demo $(ARGS)

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# Two workers for what computes; what measures time, or waits for processes and browsers, runs after it, apart from that.
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not alone and $(LEFT_OUT)" $(ARGS) || test $$? -eq 5
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "alone and $(LEFT_OUT)" $(ARGS) || test $$? -eq 5

test-ray: install
	$(BIN)/pip install --quiet -c constraints.txt -e '.[ray]'
	$(BIN)/pytest -m "ray and not slow" $(ARGS)

soak: install
	$(BIN)/python tests/soak/soak.py --kills $(KILLS)

sessions: install
	$(BIN)/python tests/soak/sessions.py $(ARGS)

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
