# make demo: clouds off the shipped Sentinel-2 sample. make test: the test suite. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint types format docs examples benchmark wheel qgis-plugin clean

.venv/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

setup: .venv/.stamp

demo: setup
	$(BIN)/ngr-geo demo --overwrite

test: setup
	$(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/.docs: .venv/.stamp
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

docs: .venv/.docs
	$(BIN)/sphinx-build --quiet -W --keep-going docs docs/_build/html

examples: setup
	for example in examples/*.py; do echo "$$example"; $(BIN)/python $$example || exit 1; done
	for example in examples/*.ipynb; do echo "$$example"; \
		OMP_NUM_THREADS=1 JUPYTER_PATH="$(CURDIR)/.venv/share/jupyter" $(BIN)/python -m jupyter execute --timeout=600 $$example || exit 1; done

benchmark: setup
	$(BIN)/python workflows/benchmark.py decloud

wheel: setup
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

qgis-plugin:
	rm -rf qgis/ngr_geo_qgis/__pycache__ dist/ngr_geo_qgis.zip
	mkdir -p dist
	cd qgis && $(PYTHON) -m zipfile -c ../dist/ngr_geo_qgis.zip ngr_geo_qgis

clean:
	rm -rf .venv dist ngr_geo_demo benchmark examples_out docs/_build docs/generated
