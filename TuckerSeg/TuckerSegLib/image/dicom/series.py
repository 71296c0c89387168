"""Which slices of many files belong to one volume, and which volume is the one to read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import ImageError
from .header import DicomFile, Slice
from .pixels import stored_bytes
from .stacks import Stack, doubled, missing_heights, stacked

SAME_DIRECTION = 0.01  # between directions of a stack: roundings; a localizer's differ by far
MOST_DIRECTIONS = 256  # in a series; radial ones have some dozens


@dataclass(frozen=True, eq=False)
class Volume:
    """Slices of one series that make one volume.

    Attributes:
        part: From 1 where a series holds several volumes; 0 where it is one.
        copies: Identical copies of slices that were left out.
    """

    stack: Stack
    part: int
    copies: int

    @property
    def head(self) -> DicomFile:
        """The first file, for what all have in common."""
        return self.stack.slices[0].file

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        pixel_format = self.head.format
        return len(self.stack.slices) * pixel_format.rows * pixel_format.columns

    @property
    def is_stack(self) -> bool:
        """Whether there are several positions."""
        return len(self.stack.slices) > 1

    @property
    def names(self) -> tuple[str, ...]:
        """What it can be chosen by: UID or number of the series, with its part where there are several."""
        ending = f":{self.part}" if self.part else ""
        return tuple(name + ending for name in (self.head.uid, self.head.number) if name)


def volumes_of(files: Iterable[DicomFile]) -> list[Volume]:
    """The volumes of files, those of one series one after the other.

    Raises:
        ImageError: The slices of a series lie in far too many directions.
    """
    series: dict[tuple, list[list[Slice]]] = defaultdict(list)
    for file in files:
        for each in file.slices:
            groups = series[file.uid, file.format.rows, file.format.columns]
            group = next((group for group in groups if _same_directions(group[0], each)), None)
            if group is None:
                if len(groups) >= MOST_DIRECTIONS:
                    raise ImageError(
                        f"{each.file.source}: the slices of its series have more than {MOST_DIRECTIONS} directions; "
                        "expected those of a stack. Give a folder without it."
                    )
                groups.append([each])
            else:
                group.append(each)
    stacks_of_uid: dict[str, list[tuple[Stack, int]]] = defaultdict(list)
    for (uid, _, _), groups in series.items():
        for group in groups:
            slices, copies = _without_copies(group)
            stacks_of_uid[uid] += [(stack, copies) for stack in _split(slices)]
    return [
        Volume(stack, part if len(stacks) > 1 else 0, copies)
        for stacks in stacks_of_uid.values()
        for part, (stack, copies) in enumerate(sorted(stacks, key=lambda pair: -len(pair[0].slices)), 1)
    ]


def ranked(volumes: Iterable[Volume], modality: str) -> list[Volume]:
    """Volumes, the one to read first: stacks, of the modality, that are no captures or localizers, the largest."""

    def order(volume: Volume) -> tuple[bool, int, int]:
        head = volume.head
        kind = 2 if head.is_capture or head.is_localizer else int(head.modality != modality)
        return not volume.is_stack, kind, -volume.voxels

    return sorted(volumes, key=order)


def _same_directions(one: Slice, other: Slice) -> bool:
    return bool(np.abs(one.place.directions - other.place.directions).max() <= SAME_DIRECTION)


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], int]:
    """Slices of which no two are the same in place, marks and pixels; the number of those left out."""
    alike: dict[tuple, list[Slice]] = defaultdict(list)
    for each in slices:
        place = each.place
        numbers = (*place.position, *place.spacing, place.slope, place.intercept)
        alike[tuple(np.round(numbers, 3)), each.marks].append(each)
    if len(alike) == len(slices):
        return list(slices), 0
    doubtful = {each.file for group in alike.values() if len(group) > 1 for each in group}
    digests = {file: _pixel_digests(file) for file in doubtful}
    kept = []
    for group in alike.values():
        first = {}
        for each in group if len(group) > 1 else ():
            first.setdefault(digests[each.file][each.frame], each)
        kept += first.values() or group
    return kept, len(slices) - len(kept)


def _pixel_digests(file: DicomFile) -> list[bytes]:
    """What frames with the same pixels have in common; compressed ones are compared file by file."""
    content, frames = memoryview(stored_bytes(file)), file.format.frames
    if file.pixels.compressed:
        whole = hashlib.sha256(content).digest()
        return [whole + str(frame).encode() for frame in range(frames)]
    size = len(content) // frames
    return [hashlib.sha256(content[frame * size : (frame + 1) * size]).digest() for frame in range(frames)]


def _split(slices: list[Slice]) -> list[Stack]:
    """Slices as volumes: several where positions are taken twice, and something in the files tells them apart."""
    whole = stacked(slices)
    if len(slices) < 4:
        return [whole]
    twice = bool(doubled(whole).any())
    if not twice and not missing_heights(whole):
        return [whole]
    for marks in zip(*(each.marks for each in slices)) if twice else [[each.marks[0] for each in slices]]:
        groups: dict[str, list[Slice]] = defaultdict(list)
        for mark, each in zip(marks, slices):
            groups[mark].append(each)
        if 1 < len(groups) <= len(slices) // 2 and all(len(group) > 1 for group in groups.values()):
            stacks = [stacked(group) for group in groups.values()]
            if not any(doubled(stack).any() for stack in stacks):
                return stacks
    return [whole]
