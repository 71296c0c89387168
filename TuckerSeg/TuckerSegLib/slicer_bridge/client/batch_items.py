"""What a batch segments: a volume of the scene into a segmentation of its own, or a file into a file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import slicer

from ...errors import ImageError, OutputError
from ...text_files import make_folder
from .batch_origins import name_key, note_origin, origin_of, read_origins
from .segmentation_run import RunSettings, in_scene
from .session import Session
from .worker_process import Event, Listener


class BatchItem(Protocol):
    """One input of a batch."""

    @property
    def name(self) -> str:
        """Of the input, for the table."""

    def why_skipped(self) -> str:
        """Why it is not to be segmented, in words; empty where it is."""

    def start(self, session: Session, settings: RunSettings, on_event: Listener) -> None:
        """Begin its run; raises TuckerSegError where that cannot be."""

    def result(self, event: Event) -> str:
        """Where the result of a run is, from its last event."""


@dataclass(eq=False)
class VolumeItem:
    """A volume of the scene. Its result is a new segmentation, named after it and beside it.

    Attributes:
        segmentation_node: The result, once there is one.
    """

    volume_node: slicer.vtkMRMLScalarVolumeNode
    name: str
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None

    def why_skipped(self) -> str:
        """Never: a result that is there is kept beside the new one."""
        return ""

    def start(self, session: Session, settings: RunSettings, on_event: Listener) -> None:
        """Begin its run.

        Raises:
            ImageError: It has been removed, or cannot be segmented.
        """
        if not in_scene(self.volume_node):
            raise ImageError("The volume was removed from the scene.")
        session.start(self.volume_node, None, settings, on_event)

    def result(self, event: Event) -> str:
        """Name of its segmentation."""
        self.segmentation_node = event["segmentation_node"]
        return self.segmentation_node.GetName() if self.segmentation_node is not None else ""


def file_items(images: Sequence[dict[str, str]], folder: str, ending: str, replaces: bool) -> list[FileItem]:
    """Items of the images of a folder, whose results go into another folder.

    A result that is known to be of another image is neither replaced nor taken for this one's: the name of the image's
    folder then goes before the name.

    Args:
        images: ``path`` and ``name`` of each.
        folder: For the results.
        ending: Of their names.
        replaces: See :class:`FileItem`.
    """
    items, taken = [], read_origins(folder)
    for each in images:
        beginning = Path(each["path"]).parent.name
        names = itertools.chain(
            [each["name"], f"{beginning} {each['name']}"],
            (f"{beginning} {each['name']} ({number})" for number in itertools.count(2)),
        )
        outputs = (str(Path(folder, name + ending)) for name in names)
        origin = origin_of(each["path"])
        output = next(path for path in outputs if taken.get(name_key(path), origin) == origin)
        taken[name_key(output)] = origin
        items.append(FileItem(each["path"], output, each["name"], replaces))
    return items


@dataclass(frozen=True)
class FileItem:
    """A file, or a folder of DICOM slices. Its result is a file.

    Attributes:
        image, output: Whole paths.
        replaces: Whether an output that is there already is written anew; else the image is passed over.
    """

    image: str
    output: str
    name: str
    replaces: bool = False

    def why_skipped(self) -> str:
        """That its output is there already."""
        if self.replaces or not os.path.lexists(self.output):
            return ""
        return f"{os.path.basename(self.output)} exists already, maybe of another CT, and was left as it is."

    def start(self, session: Session, settings: RunSettings, on_event: Listener) -> None:
        """Begin its run.

        Raises:
            OutputError: The folder of the output cannot be made.
        """
        make_folder(Path(self.output).parent)
        session.start_file(self.image, self.output, settings, on_event)

    def result(self, event: Event) -> str:
        """Name of the file; that it is of this image is noted beside it."""
        name = os.path.basename(self.output)
        try:
            note_origin(self.output, self.image)
        except OutputError as error:
            return f"{name} It could not be noted of which image it is: {error}"
        return name
