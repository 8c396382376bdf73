"""The errors a user can meet. Each message says what was found, what was expected and the call that mends it."""


class NgrError(Exception):
    """Base of every error that ngr_geo raises on purpose."""


class InputError(NgrError, ValueError):
    """The raster, or an argument, is not what the verb can work with."""


class GridError(InputError):
    """Two rasters that must share a grid (CRS, transform, shape) do not and cannot be aligned."""


class MaskError(InputError):
    """No usable cloud or missing-pixel mask was found."""


class OutputError(NgrError, OSError):
    """The result cannot be written where it was asked for."""


class TilesFailedError(NgrError, RuntimeError):
    """Some tiles could not be solved, and the others are kept in the work folder; `failures` lists rows, columns and cause."""

    def __init__(self, message: str, failures: list[dict[str, object]] | None = None) -> None:
        """Take the message and what failed."""
        super().__init__(message)
        self.failures = failures or []
