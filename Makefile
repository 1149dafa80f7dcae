# make demo    the example shop: install, train for two minutes, generate, open the admin   (ARGS=--check: unattended)
# make test    the whole test-suite
# Needs Python 3.11 or newer, git and make. PYTHON=python3.12 chooses another interpreter.

SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
RUN := $(BIN)/python
PIP := $(RUN) -m pip --disable-pip-version-check install --quiet
PINS := --constraint constraints.txt --build-constraint constraints.txt

# Several torch processes that each take every core slow each other down many times over; the demo and the
# trainer count for themselves.
TEST_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs docs-serve build schema messages constraints clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
	@echo "make lint    ruff, mypy, import contracts, missing migrations"
	@echo "make docs    the documentation into site/ (strict)"
	@echo "make build   wheel and source distribution into dist/"
	@echo "make clean   remove the demo's files and what was built (keeps $(VENV))"

$(VENV)/base.stamp: constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "This needs Python 3.11 or newer; %s is %d.%d. Try: make $(MAKECMDGOALS) PYTHON=python3.12" % (sys.executable, v[0], v[1]))'
	@echo "Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PIP) --constraint constraints.txt pip
	@touch $@

$(VENV)/demo.stamp: $(VENV)/base.stamp pyproject.toml
	@echo "Installing the pinned packages (torch is large; the first time takes some minutes)"
	@$(PIP) $(PINS) --editable '.[onnx]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	@echo "Installing what tests, linters and docs need"
	@$(PIP) $(PINS) --editable . --group test --group lint --group docs --group build
	@touch $@

demo: $(VENV)/demo.stamp
	@$(RUN) -m example_project.demo $(ARGS)

test: $(VENV)/dev.stamp
	@OMP_NUM_THREADS=$(TEST_THREADS) $(RUN) -m tests.halves $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(RUN) manage.py makemigrations --check --dry-run

docs: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/dev.stamp
	$(BIN)/mkdocs serve

build: $(VENV)/dev.stamp
	$(RUN) -m build --outdir dist

schema: $(VENV)/dev.stamp
	$(RUN) manage.py spectacular --validate --fail-on-warn --file /dev/null

# Bring the translations up to date with the source (needs GNU gettext), and compile them.
messages: $(VENV)/dev.stamp
	cd shopgen_django && ../$(BIN)/django-admin makemessages --locale zh_Hans --no-wrap --no-obsolete --add-location file
	cd shopgen_django && ../$(BIN)/django-admin compilemessages

# Resolve everything anew, without the present pins, and write them down.
constraints: $(VENV)/base.stamp
	$(PIP) --dry-run --ignore-installed --editable '.[plots,onnx,compression,diffusers,remote,s3,oscar,wagtail,postgres]' \
	  --group test --group lint --group docs --group build 'django~=5.2.0' 'torch~=2.13.0' pip --report $(VENV)/report.json
	$(RUN) tests/pins.py $(VENV)/report.json > constraints.tmp && mv constraints.tmp constraints.txt

clean:
	rm -rf example_project/var site dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
