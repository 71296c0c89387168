"""What is known of a stored calibration without its numbers: to find what was made with it, these are not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import tensor_file
from ..cache import Cache, entry_name
from ..errors import ModelFileError
from .calibration import ModelCalibration, calibration_key, is_built_in_alone, stored_calibration

if TYPE_CHECKING:
    from .model import SegmentationModel


@dataclass(frozen=True)
class CalibrationFacts:
    """A stored calibration without its moments; attributes as of :class:`ModelCalibration`."""

    sha256: str
    volumes: tuple[str, ...]
    volume_ids: tuple[str, ...]
    has_ranges: bool

    @property
    def built_in_alone(self) -> bool:
        """Whether the calibration was made on the built-in volume alone, and on none of the user's."""
        return is_built_in_alone(self.volumes)


def stored_calibration_facts(model: SegmentationModel, cache: Cache) -> CalibrationFacts | ModelCalibration | None:
    """The facts of what ``stored_calibration`` gives, read off its file's header where that tells them.

    Damage of the numbers is not seen; whoever needs them reads the whole.

    Args:
        model: With its weights or without.
        cache: Where it is looked for.

    Returns:
        The whole calibration where the header does not tell; None where there is none.
    """
    key = calibration_key(model)
    path = cache.find("calibrations", key)
    if path is not None:
        try:
            shapes, document = tensor_file.read_shapes(path, entry_name("calibrations", key))
            if "calibration_sha256" in document:
                names = tuple(document["volumes"]), tuple(document["volume_ids"])
                return CalibrationFacts(document["calibration_sha256"], *names, _has_ranges(set(shapes)))
        except (ModelFileError, KeyError, TypeError):
            pass  # whoever reads the whole says so, and discards it
    return stored_calibration(model, cache)


def is_calibrated_on_a_volume(model: SegmentationModel, cache: Cache) -> bool | None:
    """Whether a calibration of a model was made on more than the built-in volume alone; None where there is none.

    Headers tell it, and the numbers are not read: this is asked at every estimate.

    Args:
        model: With its weights or without.
        cache: Where it is looked for.
    """
    from .shipped_calibration import shipped_stamp  # reads models, which runs of kept networks do without

    key = calibration_key(model)
    path = cache.find("calibrations", key)
    if path is None:
        return None if shipped_stamp(model) is None else True
    try:
        _, document = tensor_file.read_shapes(path, entry_name("calibrations", key))
        return not is_built_in_alone(tuple(document["volumes"]))
    except (ModelFileError, KeyError, TypeError):
        return None  # whoever reads the whole discards it


def _has_ranges(names: set[str]) -> bool:
    layers = {name.rpartition("/")[0] for name in names if "/" in name}
    return all(f"{layer}/magnitudes" in names for layer in layers)
