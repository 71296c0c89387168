"""Labels as files: one or several of each run, as images or as DICOM objects, whole or one file per structure."""

from .types import TYPES, output_files, planned_outputs, type_of
from .writing import check_outputs, write_outputs, written_paths

__all__ = ["TYPES", "check_outputs", "output_files", "planned_outputs", "type_of", "write_outputs", "written_paths"]
