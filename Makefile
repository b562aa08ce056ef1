# make demo: from nothing to a submission on drawn faces.   make test: what CI runs.
# make bench: speed against other programs, half an hour or more; writes bench/results.json and bench/RESULTS.md.
# make versions: the tests beside other Pythons and libraries, an environment each (docs/versions.md); hours, and tens of GB.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test bench versions install

install: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml constraints.txt
	@.ci/install $(PYTHON) .venv -c constraints.txt -e '.[test]'
	@touch $@

demo: install
	test -e data || maskcli init --demo
	dvc repro
	maskcli report
	maskcli summary

test: install
	ruff check .
	ruff format --check .
	mypy
	MYPYPATH=bench/papers:bench/peers mypy bench/*.py
	MYPYPATH=bench mypy bench/papers/*.py
	pytest -n auto --dist loadfile --no-loadscope-reorder

# Programs that are only measured against stand in an environment of their own; one that does not install is left out.
BENCH := .venv-bench/bin
BENCH_PEERS := lightning fastai onnx onnxscript onnxruntime openvino

bench: $(BENCH)/.installed
	$(BENCH)/python bench/run.py

$(BENCH)/.installed: pyproject.toml constraints.txt
	@.ci/install $(PYTHON) .venv-bench -c constraints.txt -e .
	for peer in $(BENCH_PEERS); do \
	  $(BENCH)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $$peer \
	    || echo "make bench: $$peer does not install beside this torch; it is left out"; \
	done
	touch $@

# nox and uv stand in an environment of their own; ENVS names some environments, TESTS some tests, DEMO=1 runs `make demo` too.
VERSIONS := .versions/tools
ENVS ?=
TESTS ?=
DEMO ?=

versions: $(VERSIONS)/.installed
	-DEMO=$(DEMO) PATH="$(CURDIR)/$(VERSIONS)/bin:$$PATH" \
	  $(VERSIONS)/bin/nox --envdir .versions --report .versions/report.json $(if $(ENVS),-s $(ENVS)) $(if $(TESTS),-- $(TESTS))
	$(VERSIONS)/bin/python .ci/versions_table.py docs/versions.md

$(VERSIONS)/.installed:
	@.ci/install $(PYTHON) $(VERSIONS) nox uv
	@touch $@
