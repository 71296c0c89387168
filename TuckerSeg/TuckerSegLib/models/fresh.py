"""Models that have not been trained yet: the network of plans with fresh weights."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..compression.cost import count
from ..compression.heads import find_head
from ..errors import ModelFolderError, SpecError
from ..nnunet.plans import ModelPlans
from ..nnunet.reading import read_plans, with_documents
from ..text_files import read_json
from ..training.fresh_network import fresh_network
from ..training.tensor_states import sha256_of
from .model import SegmentationModel, weights_of

FOLD = "0"


def fresh_model(plans: ModelPlans, seed: int) -> SegmentationModel:
    """A model of one fold whose network has random weights, always the same ones for plans and a seed.

    Args:
        plans: Of one configuration: they say which network it is.
        seed: A whole number that decides on the weights.

    Raises:
        SpecError: Its network cannot take its own patch.
        UnsupportedModelError, ModelFolderError: Its network cannot be built.
    """
    network = fresh_network(plans, seed)
    cost = count(network, plans.patch_shape, plans.input_channels)
    if cost.output_shape != (plans.logit_channels, *plans.patch_shape):
        raise SpecError(f"the network gives {cost.output_shape} of a patch of {plans.patch_shape}")
    weights = weights_of(network, FOLD)
    return SegmentationModel(
        name=plans.dataset_name,
        plans=replace(plans, mirror_axes=()),
        folds=(FOLD,),
        recipes=(),
        source_sha256=sha256_of(weights),
        original_cost=cost.total,
        cost=cost.total,
        head_path=find_head(network, plans.patch_shape, plans.input_channels),
        weights=weights,
    )


def plans_of_files(plans: str | Path, dataset: str | Path, configuration: str) -> ModelPlans:
    """The facts of a model that is to be trained, from nnU-Net's files before training.

    Args:
        plans: As ``nnUNetv2_plan_and_preprocess`` writes it, ``nnUNetPlans.json``.
        dataset: ``dataset.json`` of the raw dataset.
        configuration: As ``3d_fullres``.

    Raises:
        ModelFolderError: A file cannot be read, or a field of it is missing or out of its range.
        UnsupportedModelError: A cascade, or a network or normalization that is not nnU-Net's own.
    """
    documents = []
    for path in (plans, dataset):
        try:
            document = read_json(Path(path))
        except OSError as error:
            raise ModelFolderError(f"{path} cannot be read ({error.strerror}).") from error
        except ValueError as error:
            raise ModelFolderError(f"{path} cannot be read: {error}.") from error
        if not isinstance(document, dict):
            raise ModelFolderError(f"{path}: expected a JSON object, as nnU-Net writes it.")
        documents.append(document)
    facts = read_plans(*documents, {"init_args": {"configuration": configuration}}, os.fspath(plans))
    return with_documents(facts, *documents)
