# make demo: clouds off the shipped Sentinel-2 sample. make test: the test suite. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-newest test-lowest lint types format docs examples benchmark dist wheel qgis-plugin clean

.venv/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

setup: .venv/.stamp

demo: setup
	$(BIN)/ngr-geo demo --overwrite

test: setup
	$(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal

# The quick part of the tests on other versions: the newest of all, on a newer Python, and the lowest that pyproject.toml allows.
# PyPI's torch for Linux is a CUDA build: each of the two environments takes some gigabytes.
NEWEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3) python3.13)
LOWEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.11*/bin/python3) python3.11)
LOWEST_TORCH ?= 2.4.0
LIBRARIES := .[cluster,index,products,stac]
TESTING := cf_xarray hypothesis jsonschema pytest rio-cogeo
QUICK := tests/test_package.py tests/io/test_dates.py tests/io/test_files.py tests/io/test_outputs.py tests/io/test_round_trips.py \
	tests/raster/test_cube.py tests/raster/test_masks.py tests/solver/test_parity.py tests/tiling/test_tiles.py

test-newest:
	$(NEWEST) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --upgrade --upgrade-strategy eager torch --editable '$(LIBRARIES)' $(TESTING)
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -q $(QUICK)

test-lowest:
	$(LOWEST) -m venv .venv-lowest
	sed 's/^torch==.*/torch==$(LOWEST_TORCH)/' packaging/constraints-lowest.txt > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/constraints.txt --editable '$(LIBRARIES)' $(TESTING)
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -q $(QUICK)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/.tools: .venv/.stamp
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]' build twine
	touch $@

docs: .venv/.tools
	$(BIN)/sphinx-build --quiet -W --keep-going docs docs/_build/html

examples: setup
	for example in examples/*.py; do echo "$$example"; $(BIN)/python $$example || exit 1; done
	for example in examples/*.ipynb; do echo "$$example"; \
		OMP_NUM_THREADS=1 JUPYTER_PATH="$(CURDIR)/.venv/share/jupyter" $(BIN)/python -m jupyter execute --timeout=600 $$example || exit 1; done

benchmark: setup
	$(BIN)/python workflows/benchmark.py decloud

dist: .venv/.tools
	rm -rf dist/ngr_geo-*
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/ngr_geo-*

# The wheel in an environment that has what it declares, and nothing else.
wheel: dist
	.ci/wheel

qgis-plugin:
	rm -rf qgis/ngr_geo_qgis/__pycache__ dist/ngr_geo_qgis.zip
	mkdir -p dist
	cd qgis && $(PYTHON) -m zipfile -c ../dist/ngr_geo_qgis.zip ngr_geo_qgis

clean:
	rm -rf .venv .venv-newest .venv-lowest dist ngr_geo_demo benchmark examples_out docs/_build docs/generated docs/notebooks
