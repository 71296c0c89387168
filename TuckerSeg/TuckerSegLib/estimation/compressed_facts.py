"""What is known of the model that a job runs, before it is made."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from .. import hardware
from ..cache import Cache, key_of
from ..image import Image
from ..measurements import Measurements
from ..models.allocated import known_answer
from ..models.allocation_question import asked_in_words
from ..models.architecture_key import whole_share
from ..models.model import SegmentationModel
from ..models.model_file import read_model_facts
from ..models.resolved_job import ResolvedJob
from ..records.compression import Cost
from ..records.serialization import to_json

COUNTED = {"macs": ("macs",), "parameters": ("parameters", "weight_bits"), "bytes": ("weight_bits",)}


@dataclass(frozen=True)
class CompressedFacts:
    """Facts of the model that a job runs.

    Attributes:
        cost: Of one fold.
        key: See ``SegmentationModel.key``.
        agreement: Shipped agreement with the original network, and on what it was measured; None where there is none.
        is_bound: Whether a method has yet to look at the network, so that the cost is about what it may be at most.
        material_share: Bytes of the materials that the compression will keep, relative to those of the weights.
        whole_share: See ``models.architecture_key.whole_share``.
        seconds_share: Of the original's seconds that it takes, where that is what is asked for; None: not known so.
    """

    cost: Cost
    key: str
    agreement: tuple[float, str] | None
    is_bound: bool = False
    material_share: float = 0.0
    whole_share: float = 0.0
    seconds_share: float | None = None

    def is_compiled(self, device: hardware.Device, cache: Cache) -> bool:
        """Whether the cache has the network's compiled form, for a device that takes one."""
        return device.backend == "openvino" and os.path.exists(cache.path("compiled", self.key))

    def cache_bytes(self, original: SegmentationModel, device: hardware.Device, precision: str, cache: Cache) -> int:
        """Bytes that a run would add to the cache: compressed network, its materials, its compiled form."""
        weight_bytes, stored = self.cost.weight_bytes * len(original.folds), 0
        if not os.path.exists(cache.path("models", self.key)):
            stored = weight_bytes + round(self.material_share * original.weight_bytes)
        if device.backend == "openvino" and not self.is_compiled(device, cache):
            stored += weight_bytes // (1 if precision == "fp32" else 2)
        return stored


def allocated_facts(
    model: SegmentationModel, resolved: ResolvedJob, image: Image | None, cache: Cache
) -> CompressedFacts:
    """Facts of what all means together give: those of an earlier answer, else what was asked for.

    Args:
        model: The original.
        resolved: The job; its only step is the allocator's.
        image: Volume that the job is about; None where it is not at hand.
        cache: Where answers are.
    """
    ((_, spec),) = resolved.steps
    volume = None if image is None else (lambda: image)
    answer = known_answer(model, spec, resolved.inference, resolved.job.calibrate, cache, volume, read_model_facts)
    if answer is not None:
        return CompressedFacts(answer.cost, answer.key, None, whole_share=whole_share(answer.recipes, answer.cost))
    key = key_of(model=model.key, allocation=to_json(spec))
    earlier = Measurements(cache).answer_macs(asked_in_words(model, spec))
    if spec.agreement is not None:
        cost = model.cost if earlier is None else replace(model.cost, macs=round(earlier))
        return CompressedFacts(cost, key, (spec.agreement, "asked for, on held-back patches"), True)
    shares = {name: round(spec.share * getattr(model.cost, name)) for name in COUNTED.get(spec.budget, ())}
    share_of_time = spec.share if spec.budget == "time" else None
    return CompressedFacts(replace(model.cost, **shares), key, None, True, seconds_share=share_of_time)
