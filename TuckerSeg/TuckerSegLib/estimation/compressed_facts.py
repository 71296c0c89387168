"""What is known of the model that a job runs, before it is made."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
