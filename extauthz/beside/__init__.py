"""A candidate bundle beside the live one: evaluated on real traffic, counted and recorded, never heeded."""

from extauthz.beside.beside import Beside, BesideOptions
from extauthz.beside.budget import Budget
from extauthz.beside.sweep import Sweeper
from extauthz.beside.waiting import Waiting

__all__ = ["Beside", "BesideOptions", "Budget", "Sweeper", "Waiting"]
