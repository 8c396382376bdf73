"""The estimators that predict a date of a stack: the guide, and the members that its prediction is blended with."""

from . import dates, kriging
from .base import Guide, Member

GUIDE: Guide = dates
"""What the network refines: the regression on the other dates."""
MEMBERS: dict[str, Member] = {"local": kriging.local, "kriging": kriging.kriging}
"""Beside "guide" and "ngr", by the names that a user chooses them by, see `keywords.Method`."""
