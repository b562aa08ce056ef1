# make demo: from nothing to a submission on drawn faces.   make test: what CI runs.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test install

install: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

demo: install
	test -e data || (maskcli demo-data data && dvc add --quiet data)
	dvc repro
	maskcli report
	maskcli summary

test: install
	ruff check .
	ruff format --check .
	mypy
	pytest -n auto --dist loadfile
