"""Plans of a smaller network for the same task: fewer features in every stage, or fewer stages."""

from __future__ import annotations

import copy
from dataclasses import replace

from ..errors import SpecError, UnsupportedModelError
from .network_classes import TRANSFORMERS
from .plans import Architecture, ModelPlans

_PER_STAGE = ("kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage")
_OF_WIDTH = ("bottleneck_channels", "stem_channels")  # follow from the features where they are not given


def narrower_plans(plans: ModelPlans, base: int, stages: int | None = None) -> ModelPlans:
    """The same plans with another U-Net: so many features in the first stage, twice as many in each that follows.

    No stage has more than the widest one of the plans' own network. Kernels, strides and depths of the stages that are
    there are as they were.

    Args:
        plans: Of a U-Net.
        base: Features of the first stage.
        stages: Of the encoder; None: as many as there are.

    Raises:
        SpecError: More stages than the network has or fewer than two, or more features than it has.
        UnsupportedModelError: It is no U-Net.
    """
    architecture = plans.architecture
    if architecture.class_name in TRANSFORMERS:
        raise UnsupportedModelError(
            f"{plans.dataset_name}: expected a U-Net, which has stages to be made narrower; found the transformer "
            f"{architecture.class_name}."
        )
    kwargs = copy.deepcopy(architecture.kwargs)
    own, features = kwargs["n_stages"], kwargs["features_per_stage"]
    stages = own if stages is None else stages
    if not 2 <= stages <= own:
        raise SpecError(f"The number of stages should be between 2 and {own}, those of the network; found {stages}.")
    if not 1 <= base <= features[0]:
        raise SpecError(
            f"The features of the first stage should be between 1 and {features[0]}, those of the network; found "
            f"{base}."
        )
    kwargs["n_stages"] = stages
    kwargs["features_per_stage"] = [min(base * 2**stage, max(features)) for stage in range(stages)]
    for name in _PER_STAGE:
        if isinstance(kwargs.get(name), (list, tuple)):
            kwargs[name] = list(kwargs[name])[:stages]
    if isinstance(kwargs["n_conv_per_stage_decoder"], (list, tuple)):
        # Of the decoder the deepest stage comes first, so that those of the shallow ones stay.
        kwargs["n_conv_per_stage_decoder"] = list(kwargs["n_conv_per_stage_decoder"])[own - stages :]
    for name in _OF_WIDTH:
        if name in kwargs:
            kwargs[name] = None
    return replace(plans, architecture=Architecture(architecture.class_name, kwargs, architecture.requires_import))
