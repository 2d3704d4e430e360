# make lab        set up, and open the course in JupyterLab
# make test       set up, and test everything
# make quick      the fast tests: no notebooks, no browser, under a minute on two cores
# make coverage   the same, and which lines of slmlab/ they reach
# make lint       ruff (check and format), types, and whether exercises/ is fresh
# make bench      speed and memory, into benchmarks/ (about ten minutes, a quiet machine)
# make exercises  exercises/ from solutions/
# make clean      remove the environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8888
FIRST := /lab/tree/notebooks/0_begin_here.ipynb
COURSE := notebooks/*.ipynb exercises/*.ipynb solutions/*.ipynb
# No question about news, and links to .md files open them rendered; a learner's settings come first.
SETTINGS := $(CURDIR)/tools/jupyter
ALONE := browser or cluster
QUICK := tests --numprocesses 2 -m "not (slow or $(ALONE))"

.PHONY: lab test quick coverage lint bench exercises clean

# The course itself needs the first; tests add the corpus's own packages and the reference model.
$(VENV)/lab: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the course into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[lab]"
	@touch $@

$(VENV)/test: $(VENV)/lab
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[lab,rag,sweep,test]"
	@touch $@

# Trusted, so that stored figures appear when a notebook is opened.
lab: $(VENV)/lab
	@$(BIN)/jupyter trust $(COURSE) >/dev/null
	JUPYTER_CONFIG_PATH="$(SETTINGS)$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	$(BIN)/jupyter lab --port $(PORT) --LabApp.default_url=$(FIRST) $(JUPYTER_FLAGS)

# Browsers and clusters start processes of their own, so those tests run one by one.
test: $(VENV)/test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope -m "not ($(ALONE))" $(PYTEST_FLAGS)
	$(BIN)/python -m pytest tests -m "$(ALONE)" $(PYTEST_FLAGS)

quick: $(VENV)/test
	$(BIN)/python -m pytest $(QUICK) $(PYTEST_FLAGS)

coverage: $(VENV)/test
	$(BIN)/python -m pytest $(QUICK) --cov=slmlab $(PYTEST_FLAGS)

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/exercises.py --check

bench: $(VENV)/test
	$(BIN)/python benchmarks/bench.py

exercises: $(VENV)/lab
	$(BIN)/python tools/exercises.py

clean:
	rm -rf $(VENV)
