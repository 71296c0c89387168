"""What is asked of the allocator about one model, and the steps that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..cache import Cache, key_of
from ..compression.allocation import Spec, allocate_steps, material_spec
from ..compression.allocation.steps import Allocation, available_means
from ..image import Image
from ..monitor import Monitor
from ..records.layer_times import LayerTimes
from ..records.serialization import to_json
from .calibration import ModelCalibration, volume_id
from .calibration_facts import CalibrationFacts
from .material import prepare_folds
from .model import SegmentationModel
from .patch_timing import Place

VERSION = 2  # raise when the same question has another answer


@dataclass(frozen=True)
class Question:
    """All that an answer of the allocator depends on.

    Attributes:
        model: That is compressed.
        spec: What is asked for, its calibration named.
        calibration: By which errors are told; to look for an answer in the cache, its facts do.
        times: Of layers on the device; None where time is not counted.
        volumes: That layers are fitted to and agreement is measured on.
        place: Where the network will run; None where time is not counted, or not to be measured.
    """

    model: SegmentationModel
    spec: Spec
    calibration: ModelCalibration | CalibrationFacts
    times: LayerTimes | None
    volumes: tuple[Image, ...]
    place: Place | None = None

    @property
    def key(self) -> str:
        """Of the answer in the cache."""
        return key_of(
            allocation=VERSION,
            source=self.model.key,
            spec=to_json(self.spec),
            times=self.times and to_json(self.times),
            volumes=[volume_id(volume) for volume in self.volumes],
        )


def asked_in_words(model: SegmentationModel, spec: Spec) -> str:
    """What is asked of a model, whatever the volume: under this, what answers cost is remembered."""
    return f"{model.key} {spec.budget} {spec.agreement or spec.share} {','.join(spec.means or ())}"


def allocation_of(
    question: Question, cache: Cache, monitor: Monitor, corrections: Mapping[str, float] = MappingProxyType({})
) -> Allocation:
    """The steps that a question's share of the cost is best spent on.

    Args:
        question: Its agreement does not count.
        cache: Keeps what the methods know of the model.
        monitor: Hears what fraction is done.
        corrections: Of the prices of means, see ``compression.allocation.problem.Problem``.

    Raises:
        SpecError: There are no means.
        Cancelled: The monitor said so.
    """
    model, spec = question.model, question.spec
    means = available_means(spec, question.times)
    if not has_ranges(question.calibration):  # of before there was INT8
        means = tuple(name for name in means if name != "int8")
    materials = {}
    for number, name in enumerate(means):
        asked_by = material_spec(name, question.calibration.sha256)
        share = monitor.share(number, len(means))
        materials[name] = prepare_folds(model, asked_by, name, cache, question.calibration, share)
    patch = (model.plans.patch_shape, model.plans.input_channels)
    return allocate_steps(model.structure(), spec, *patch, materials, question.times, corrections)


def has_ranges(calibration: ModelCalibration) -> bool:
    """Whether a calibration knows how large the inputs of layers are."""
    layers = [moments for fold in calibration.folds.values() for moments in fold.layers.values()]
    return all(moments.magnitudes is not None for moments in layers)
