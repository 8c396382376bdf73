"""The ngr-geo command, also `rio ngr`. Heavy modules are imported where they are used: --help answers at once."""

from .commands import main

__all__ = ["main"]
