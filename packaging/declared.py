"""Give an environment what a wheel declares, and nothing else: python packaging/declared.py WHEEL PYTHON.

PYTHON is that of an empty environment. The distributions that the wheel's metadata asks for, and those that they ask for,
are linked from the environment that runs this script, which has them already. What the wheel uses and does not declare is
missing there, as it is for a user.
"""

import os
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from zipfile import Path as InZip
from zipfile import ZipFile

from packaging.requirements import Requirement


def declared(wheel: Path) -> dict[str, set[str]]:
    """Return the extras that are asked for of each distribution that a wheel needs, by name."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        todo = _required(PathDistribution(InZip(archive, name.removesuffix("METADATA"))), "")
        found: dict[str, set[str]] = {}
        while todo:
            requirement = todo.pop()
            for extra in {"", *requirement.extras} - found.setdefault(requirement.name, set()):
                found[requirement.name].add(extra)
                todo += _required(distribution(requirement.name), extra)
    return found


def _required(project: Distribution, extra: str) -> list[Requirement]:
    """Return what a distribution asks for here, with one of its extras or without."""
    wanted = [Requirement(line) for line in project.requires or ()]
    return [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})]


def link(name: str, place: Path) -> None:
    """Link the files of a distribution into a folder of packages; its commands, which lie elsewhere, are left out."""
    for file in distribution(name).files or ():
        if ".." not in file.parts:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            if not (place / file).exists():
                os.symlink(file.locate(), place / file)


def main() -> None:
    """Link, install the wheel beside it, and check that no requirement is missing."""
    wheel, python = Path(sys.argv[1]), sys.argv[2]
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    place = Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
    names = declared(wheel)
    for name in names:
        link(name, place)
    print(f"{len(names)} distributions are declared, directly or not")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True)


if __name__ == "__main__":
    main()
