"""The estimators that predict a date of a stack, by name: see `base.Member`."""

from __future__ import annotations

from . import dates
from .base import Member

MEMBERS: dict[str, Member] = {
    "regression": dates,
}
GUIDE = MEMBERS["regression"]
"""The member that the network refines."""
