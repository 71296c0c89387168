"""Images on their grid: reading, checking, viewing along other axes, and writing label files."""

from .arrays import image_from_array
from .boxes import Box, box_around, cropped, filled_box
from .checks import is_constant
from .geometry import Geometry, oriented
from .labels import LARGEST_LABEL, Segment, label_type, segment_volumes_ml, voxel_counts
from .listing import image_names, images_in, listed_images
from .reading import read_image
from .volume import Image
from .writing import check_output, check_space, write_labels

__all__ = [
    "LARGEST_LABEL",
    "Box",
    "Geometry",
    "Image",
    "Segment",
    "box_around",
    "check_output",
    "check_space",
    "cropped",
    "filled_box",
    "image_from_array",
    "image_names",
    "images_in",
    "listed_images",
    "is_constant",
    "label_type",
    "oriented",
    "read_image",
    "segment_volumes_ml",
    "voxel_counts",
    "write_labels",
]
