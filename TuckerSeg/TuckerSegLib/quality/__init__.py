"""Whether an image and its labels are plausible: findings, never refusals.

:func:`check_image` looks at an image before a run; :func:`check_labels` at the structures that a run, or somebody else,
found. World directions come from the affine, so both notice a header that does not tell the truth.
"""

from ..image.hounsfield import may_be_hounsfield
from .grid import check_field
from .image_check import ImageCheck, check_image
from .label_check import check_labels

__all__ = ["ImageCheck", "check_field", "check_image", "check_labels", "may_be_hounsfield"]
