# SPDX-License-Identifier: GPL-2.0-or-later
# make demo   virtual environment, build, a simulated exposure, the recipe with its report, a picture
# make test   the same environment, all tests (those against ESO's recipe where esorex and cpl-plugin-muse are installed)
# make sanitize  the kernels with bounds checks and sanitizers of GCC, with hostile numbers and all their other tests
# make lint   style, import rules, types
# make bench  side by side with ESO's recipe
# make dev    editable installation: kernels are rebuilt on import
# make docs   the manual as HTML (docs/_build/html), the cells of its notebooks are run; make check-docs looks at it with a browser
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell git ls-files muse_core recipes cython_ext meson.build meson.options pyproject.toml 2>/dev/null)
PYTEST_ARGS ?=
# a process a core, each with whole files of tests, in the order of their names; --no-loadscope-reorder: the long ones do not come last
PYTEST_PARALLEL := -n logical --maxprocesses=8 --dist loadfile --no-loadscope-reorder

.PHONY: demo test sanitize lint bench dev docs check-docs clean

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found; on Debian or Ubuntu: apt-get install python3 python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "on Debian or Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/installed: $(BIN)/python $(SOURCES)
	@$(BIN)/python -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())' \
		|| { echo "Python.h not found; on Debian or Ubuntu: apt-get install python3-dev gcc"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check '.[demo,test]'
	touch $@

demo: $(VENV)/installed
	mkdir -p demo
	$(BIN)/muse-simulate demo --ifus 1-24 --lambda 5980 6400 --exptime 3000 --seed 1
	cd demo && ../$(BIN)/muse-esorex --extras=report muse_scipost --save=cube,skymodel model.sof
	cd demo && ../$(BIN)/python ../sof_examples/plot_field.py DATACUBE_FINAL.fits demo.png
	@echo "the field, an emission line, a spectrum: demo/demo.png; the report: demo/MUSE_REPORT.html"

test: $(VENV)/installed
	$(BIN)/pytest $(PYTEST_PARALLEL) $(PYTEST_ARGS)

# built beside the installed package; the libraries of the sanitizers have to be there before Python is
SANITIZED := $(CURDIR)/build/sanitized
SANITIZERS := -Db_sanitize=address,undefined -Db_lundef=false \
	'-Dc_args=-fsanitize=float-cast-overflow -fno-sanitize-recover=all -g1'

sanitize: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check meson ninja cython numpy
	export PATH=$(CURDIR)/$(BIN):$$PATH; \
		{ test -f $(SANITIZED)/build/build.ninja || meson setup $(SANITIZED)/build -Dbounds_checks=true -Dcpl_plugin=disabled \
		$(SANITIZERS) -Dpython.platlibdir=$(SANITIZED)/package -Dpython.purelibdir=$(SANITIZED)/package; } && \
		meson install --quiet -C $(SANITIZED)/build
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
		MUSE_TEST_INSTALLATION=$(SANITIZED)/package \
		$(BIN)/pytest $(PYTEST_PARALLEL) -p no:cacheprovider -p no:faulthandler tests/kernels $(PYTEST_ARGS)

# lint-imports runs elsewhere: it is the installed package that it has to find, not the sources
lint: $(VENV)/linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/lint-imports --no-cache --config ../pyproject.toml

$(VENV)/linters: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check ruff 'import-linter>=2.0'
	touch $@

bench: $(VENV)/installed
	$(BIN)/python benchmarks/side_by_side.py

dev: $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check meson-python meson ninja cython numpy
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/pip install --no-build-isolation --quiet -e '.[demo,test,lint]'

docs: $(VENV)/documented
	$(BIN)/codespell README.md CHANGES.md docs sof_examples
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

$(VENV)/documented: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check 'muse-scipost[docs]'  # what is installed, and that
	touch $@

check-docs: docs
	$(BIN)/python docs/check_pages.py docs/_build/html

clean:
	rm -rf $(VENV) build dist demo docs/_build docs/reference/generated
