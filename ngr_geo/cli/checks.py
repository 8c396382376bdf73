"""Checks before hours of work: everything that was named can be read or written, and nothing is replaced unasked."""

import importlib.util
import os
from pathlib import Path

from .. import atomic
from ..errors import NgrError, OutputError
from ..io import Files, Written, check_output, remote
from ..tiling.work import Folder
from .options import Job


def before(job: Job, stack: Files) -> None:
    """Raise where an input or output of a job, other than the raster, could not be read or written."""
    planned = _planned(job, stack)
    if job.filled == "variable" and planned.filled:
        msg = (
            f"--filled variable is for NetCDF and Zarr: rasters have NAME_filled.tif beside them ({planned.filled[0]})."
        )
        raise OutputError(msg, call="Leave it out, or write -o out.nc.")
    work_folder(job, stack)
    for option in ("work", "save_prior", "index", "quicklook", "report"):
        if (place := getattr(job, option)) is not None:
            _check_place(place, f"--{option.replace('_', '-')}", job, stack)
    if job.url is not None:
        remote.check_free(planned.all, job.output, job.url, job.overwrite)
    if job.prior is not None:
        from ..methods.checkpoint import load

        load(job.prior)
    if job.index is not None:
        from ..report import index

        index.check(job.index)
    if job.stac:
        from ..report import stac

        stac.check(stack.raster, planned, job.overwrite)
    if job.report is not None and job.quicklook is not None:
        if Path(job.report).absolute() == Path(job.quicklook).absolute():
            msg = f"{job.report} is named twice, by --quicklook and --report. Name two files."
            raise OutputError(msg)


def work_folder(job: Job, stack: Files) -> Folder | None:
    """Return the folder for finished tiles: none for a raster that is solved in memory."""
    if not stack.lazy:
        return None
    out = job.output.rstrip(os.sep)
    path = Path(job.work or f"{os.path.basename(out) if job.url else out}.ngr-work")
    if path.exists() and not path.is_dir():
        msg = f"{path} is a file, and a work folder is expected. Choose another --work."
        raise OutputError(msg)
    if path.absolute() == Path(job.output).absolute():
        msg = f"{path} is the output, too. Choose another --work; it is removed in the end."
        raise OutputError(msg)
    return Folder(path, job.restart, stack.inputs)


def has_tables() -> bool:
    """Return whether the packages for tables of polygons are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("geopandas", "pyarrow"))


def _planned(job: Job, stack: Files) -> Written:
    """Return the files that will be written; raise where they could not be."""
    try:
        layers = tuple(kind for kind in ("uncertainty", "change") if getattr(job, kind))
        return check_output(job.output, stack, job.overwrite, layers)
    except NgrError:
        raise
    except (OSError, ValueError) as error:  # of names that no file can have: too long, or with a null
        reason = getattr(error, "strerror", None) or error
        msg = f"{job.output!r:.100} cannot be written: {reason}. Name another place with -o."
        raise OutputError(msg) from error


def _check_place(place: str, option: str, job: Job, stack: Files) -> None:
    """Raise where a file that an option names could not be written, or would replace something."""
    if "://" in place:
        msg = f"{place} is a URL, and this is written on this machine. Name a path: {option} PATH"
        raise OutputError(msg)
    if option == "--work":
        return
    if os.path.exists(place) and any(os.path.samefile(place, name) for name in stack.inputs if os.path.exists(name)):
        msg = f"{place} is an input, and inputs are never overwritten. Choose another {option}."
        raise OutputError(msg)
    atomic.check(place, job.overwrite, "--overwrite", f"another {option}")
