"""Labels as DICOM objects that refer to the slices they were made of: SEG, RTSTRUCT, and reports of volumes.

Needs highdicom and pydicom, of the extra ``dicom``.
"""

from .writer import DicomWriter, check_dicom_output

__all__ = ["DicomWriter", "check_dicom_output"]
