"""What tests of damaged image files compare with: ITK's own reading, and the form of a refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from TuckerSegLib.errors import ImageError
from TuckerSegLib.image import read_image


def by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (Z, Y, X) and the affine in RAS mm, as ITK reads a file."""
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ affine


def refused(path: Path, text: str) -> None:
    """Check that a file is refused in one line that names it and matches a text."""
    with pytest.raises(ImageError, match=text) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and len(message) < 600 and message.isprintable()
