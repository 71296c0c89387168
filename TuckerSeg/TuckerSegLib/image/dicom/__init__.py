"""DICOM: which files make a volume, where its slices lie, and what their values are."""

from .choosing import SeriesEntry, list_series
from .reading import read_dicom

__all__ = ["SeriesEntry", "list_series", "read_dicom"]
