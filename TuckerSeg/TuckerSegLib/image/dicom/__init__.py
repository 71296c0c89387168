"""DICOM: which files make a volume, where its slices lie, and what their values are."""

from .choosing import SeriesEntry, contents_of, entries
from .reading import read_dicom

__all__ = ["SeriesEntry", "contents_of", "entries", "read_dicom"]
