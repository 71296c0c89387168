"""Checks whether an image and its labels are plausible. The result is findings; nothing is refused.

:func:`check_image` looks at an image before a run, :func:`check_labels` at a segmentation of any origin. Directions in
the patient come from the affine, so both notice a header whose orientation or spacing is wrong.
"""

from ..hounsfield import may_be_hounsfield
from .grid import check_field
from .image_check import ImageCheck, check_image
from .label_check import check_labels

__all__ = ["ImageCheck", "check_field", "check_image", "check_labels", "may_be_hounsfield"]
