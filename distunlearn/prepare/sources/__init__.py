"""What labs have (BIDS folders, folders with names of their own, tables), read into one checked record a scan."""

from distunlearn.prepare.sources.find import find

__all__ = ["find"]
