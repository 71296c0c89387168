"""Volume nodes as the engine sees them: voxels (Z, Y, X) in a file, and where they lie in the patient.

Knows MRML volumes; knows nothing of models and of the worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ...errors import ImageError, OutputError
from ...files.full_disk import full_disk_words, is_full
from ...records.protocol import VolumeFile

PIECE_BYTES = 4 * 2**20
SHORTEST_MM, LONGEST_MM = 1e-6, 1e6  # of the edges of a voxel
FLATTEST = 1e-6  # volume of a voxel, relative to that of a box with its edges


def check_volume(volume_node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Make sure that a node can be segmented.

    Raises:
        ImageError: None, no voxels, a label map, several components per voxel, or voxels without a volume.
    """
    if volume_node is None:
        raise ImageError("Select the volume to segment.")
    name = volume_node.GetName()
    if not volume_node.IsA("vtkMRMLScalarVolumeNode"):
        raise ImageError(f"{name} is a {volume_node.GetNodeTagName()} node; select a CT volume.")
    if volume_node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ImageError(f"{name} is a label map; select the CT volume itself.")
    image = volume_node.GetImageData()
    if image is None or min(image.GetDimensions()) < 1 or image.GetPointData().GetScalars() is None:
        raise ImageError(f"{name} has no voxels. Load the volume again.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise ImageError(f"{name} has {components} values per voxel; a CT has one. Select another volume.")
    axes = np.asarray(affine_of(volume_node))[:3, :3]
    edges_mm = np.linalg.norm(axes, axis=0)
    if not np.all((edges_mm > SHORTEST_MM) & (edges_mm < LONGEST_MM)):
        edges = " × ".join(f"{edge:.3g}" for edge in edges_mm)
        raise ImageError(f"{name} has voxels of {edges} mm. Correct its spacing, or the transform that it is under.")
    if abs(np.linalg.det(axes)) <= FLATTEST * np.prod(edges_mm):
        raise ImageError(
            f"{name} lies in a plane. Correct the directions of its axes, or the transform that it is under."
        )


def volumes_of_scene() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The volumes that a user sees in selectors, in their order; no label maps, vectors and the like."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [
        node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
    ]


def array_of(volume_node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Voxels of a node, (Z, Y, X). Shares the node's memory, and keeps it alive."""
    image = volume_node.GetImageData()
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return values.reshape(image.GetDimensions()[::-1])


def affine_of(volume_node: slicer.vtkMRMLScalarVolumeNode) -> tuple[tuple[float, ...], ...]:
    """4x4 matrix from voxel index (x, y, z) to world RAS mm.

    A linear parent transform is applied: the network must see the patient upright even where a transform has put
    him so. A non-linear one is left out; it bends the result with the volume, as both share it.
    """
    index_to_world = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(index_to_world)
    transform_node = volume_node.GetParentTransformNode()
    if transform_node is not None and transform_node.IsTransformToWorldLinear():
        to_world = vtk.vtkMatrix4x4()
        transform_node.GetMatrixTransformToWorld(to_world)
        vtk.vtkMatrix4x4.Multiply4x4(to_world, index_to_world, index_to_world)
    return tuple(tuple(index_to_world.GetElement(row, column) for column in range(4)) for row in range(4))


def shape_of(volume_node: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, int, int]:
    """Number of voxels, (Z, Y, X)."""
    return tuple(volume_node.GetImageData().GetDimensions()[::-1])


def grid_voxels(volume_node: slicer.vtkMRMLScalarVolumeNode, spacing_mm: Sequence[float]) -> int:
    """About how many voxels of a spacing fill a volume, whichever way it is turned."""
    sides_mm = np.linalg.norm(np.asarray(affine_of(volume_node))[:3, :3], axis=0) * shape_of(volume_node)[::-1]
    return round(float(np.prod(sides_mm) / np.prod(spacing_mm)))


def volume_file(volume_node: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> VolumeFile:
    """Describe the file that :class:`VolumeWriter` writes for a node; nothing is written here.

    The key changes with the voxels and with where they lie, so the same volume need not be written twice.

    Raises:
        ImageError: See :func:`check_volume`.
    """
    check_volume(volume_node)
    affine = affine_of(volume_node)
    image = volume_node.GetImageData()
    facts = (volume_node.GetID(), image.GetMTime(), image.GetPointData().GetScalars().GetMTime(), affine)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    return VolumeFile(
        path=str(folder / f"volume-{key}.npy"),
        shape=shape_of(volume_node),
        affine=affine,
        name=volume_node.GetName(),
        key=key,
    )


class VolumeWriter:
    """Writes the voxels of a node to a ``.npy`` file piece by piece, so that nobody waits for a disk.

    The file appears under its name when it is whole.
    """

    def __init__(self, volume_node: slicer.vtkMRMLScalarVolumeNode, path: str):
        self._array = np.ascontiguousarray(array_of(volume_node))
        self._bytes = memoryview(self._array.reshape(-1)).cast("B")
        self._path = Path(path)
        self._beside = self._path.with_name(f"{self._path.stem}-{secrets.token_hex(6)}.part")  # two may write at once
        self._file: BinaryIO | None = None
        self._written = 0

    @property
    def fraction(self) -> float:
        return self._written / max(len(self._bytes), 1)

    def write_for(self, seconds: float) -> bool:
        """Write for about that long; returns whether the file is whole.

        Raises:
            OutputError: The disk is full, or the folder not writable.
        """
        until = time.perf_counter() + seconds
        try:
            if self._file is None:
                self._file = self._beside.open("wb")
                header = np.lib.format.header_data_from_array_1_0(self._array)
                np.lib.format.write_array_header_1_0(self._file, header)
            while self._written < len(self._bytes):
                self._written += self._file.write(self._bytes[self._written : self._written + PIECE_BYTES])
                if time.perf_counter() > until:
                    return False
            self.close()
            self._beside.replace(self._path)
        except OSError as error:
            self.discard()
            folder, needed = self._path.parent, len(self._bytes)
            why = f": {full_disk_words(folder, needed)}" if is_full(error, folder) else f" ({folder})"
            raise OutputError(
                f"The volume could not be handed over: {error.strerror}{why}. "
                "Free some disk space, or choose another temporary folder in the application settings."
            ) from error
        return True

    def discard(self) -> None:
        """Close the file and remove what is written so far; a file that is whole stays."""
        with contextlib.suppress(OSError):  # a full disk may fail the close; the folder goes with the worker
            self.close()
        with contextlib.suppress(OSError):
            self._beside.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; what is written so far stays under a temporary name in the worker's folder."""
        if self._file is not None:
            self._file.close()
            self._file = None
