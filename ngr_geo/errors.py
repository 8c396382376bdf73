"""The errors and warnings a user can meet. Each says what was found, what was expected and the call that mends it."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import Any


class NgrError(Exception):
    """Base of every error that ngr_geo raises on purpose.

    `str(error)` advises a caller in Python; `on_command_line` gives the same text with the option of the command that mends it.

    Examples:
        >>> import ngr_geo
        >>> try:
        ...     ngr_geo.sample("slovakia")
        ... except ngr_geo.NgrError as error:
        ...     print(error)
        Found no sample 'slovakia', expected one of slovenia: ngr_geo.sample('slovenia').
    """

    def __init__(self, found: str, *more: object, call: str = "", option: str = "") -> None:
        """Take what was found and what was expected, then the call that mends it and, where it differs, the option."""
        super().__init__(f"{found} {call}".rstrip(), *more)
        self._on_command_line = f"{found} {option or call}".rstrip()

    @property
    def on_command_line(self) -> str:
        """The message for a user of the command line."""
        return self._on_command_line


class NgrWarning(UserWarning):
    """What a user should know, with an advice: `str(warning)` gives that of Python, `on_command_line` that of the command."""

    def __init__(self, found: str, *, call: str = "", option: str = "") -> None:
        """Take what was found, then the call that mends it and, where it differs, the option."""
        super().__init__(f"{found} {call}".rstrip())
        self.on_command_line = f"{found} {option or call}".rstrip()


class InputError(NgrError, ValueError):
    """The raster, or an argument, is not what the verb can work with.

    Examples:
        >>> import xarray as xr
        >>> import ngr_geo
        >>> xr.DataArray([["a"]], dims=("y", "x")).ngr.inpaint()
        Traceback (most recent call last):
        ngr_geo.errors.InputError: ...
    """


class GridError(InputError):
    """Two rasters that must share a grid (CRS, transform, shape) do not and cannot be aligned.

    Examples:
        >>> import ngr_geo
        >>> stack = ngr_geo.sample()
        >>> elsewhere = stack.SCL.assign_coords(x=stack.x + 1e6)
        >>> stack.ngr.cloud_mask(elsewhere)
        Traceback (most recent call last):
        ngr_geo.errors.GridError: ...
    """


class MaskError(InputError):
    """No usable cloud or missing-pixel mask was found.

    Examples:
        >>> import ngr_geo
        >>> ngr_geo.sample().drop_vars("SCL").ngr.decloud()
        Traceback (most recent call last):
        ngr_geo.errors.MaskError: ...
    """


class OutputError(NgrError, OSError):
    """The result cannot be written where it was asked for.

    Examples:
        >>> import ngr_geo
        >>> stack = ngr_geo.sample()
        >>> stack.ngr.report(stack, ngr_geo.sample_path() / "NOTICE.txt")  # it is there, and is not overwritten
        Traceback (most recent call last):
        ngr_geo.errors.OutputError: ...
    """


class TilesFailedError(NgrError, RuntimeError):
    """Some tiles could not be solved, and the others are kept in the work folder; `failures` lists rows, columns and cause."""

    def __init__(self, message: str, failures: list[dict[str, object]] | None = None) -> None:
        """Take the message and what failed."""
        super().__init__(message)
        self.failures = failures or []


def needed(what: str, extra: str, *packages: str) -> tuple[Any, ...]:
    """Return packages of an extra of ngr_geo.

    Raises:
        InputError: one is not installed; `what` says which are needed for what.
    """
    try:
        return tuple(map(import_module, packages))
    except ImportError as error:
        msg = f"{what} not installed: pip install 'ngr_geo[{extra}]'."
        raise InputError(msg) from error


def warn(text: str | Warning) -> None:
    """Warn of something, at the line of the caller's that led to it: the first one that is not of this package."""
    package = os.path.dirname(os.path.abspath(__file__)) + os.sep
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(package):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)
