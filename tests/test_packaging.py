"""What is in packaging/: each says the same of the package as pyproject.toml and the command line do."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from ngr_geo import __version__
from ngr_geo.cli.commands import main

HOME = Path(__file__).parent.parent
CONDA = {"dask": "dask-core", "matplotlib": "matplotlib-base", "torch": "pytorch"}


def floors(*extras: str) -> dict[str, Version]:
    """Return the lowest versions that pyproject.toml allows, by name."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    found = [Requirement(one) for one in wanted]
    return {one.name.lower(): Version(next(iter(one.specifier)).version) for one in found}


def test_the_lowest_versions_are_those_of_the_project() -> None:
    lines = (HOME / "packaging" / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {name.lower(): Version(version) for name, version in (line.split("==") for line in lines if "==" in line)}
    declared = floors("cluster", "index", "products", "stac")
    assert {name: pinned.get(name) for name in declared} == declared


def test_the_conda_recipe_requires_what_the_project_requires() -> None:
    text = (HOME / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(text)
    assert recipe["context"]["version"] == __version__
    run = dict(line.split(" >=") for line in recipe["requirements"]["run"] if not line.startswith("python "))
    assert {name: Version(version) for name, version in run.items()} == {
        CONDA.get(name, name): version for name, version in floors().items()
    }


@pytest.mark.parametrize("verb", ["decloud", "repair"])
def test_a_cwl_tool_uses_options_that_the_command_has(verb: str) -> None:
    text = (HOME / "packaging" / "cwl" / f"{verb}.cwl").read_text(encoding="utf-8")
    options = {name for parameter in main.commands[verb].params for name in parameter.opts}
    used = set(re.findall(r"(?:prefix|valueFrom): (--\S+?)[},\s]", text))
    assert used >= {"--output", "--report", "--stac", "--json"}
    assert used <= options
    assert yaml.safe_load(text)["s:softwareVersion"] == __version__
