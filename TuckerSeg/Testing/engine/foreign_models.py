"""Models beside an honest one: with other weights, another spacing, another place in the cache."""

from __future__ import annotations

from dataclasses import replace

import torch

from TuckerSegLib import InferenceSpec
from TuckerSegLib.compression.tucker.method import Spec

HALF = Spec(rank_ratio=0.5)
COMPILED = InferenceSpec(device="openvino:cpu", precision="fp32", threads=1)


def other_weights(model, **fields):
    """A model that says the same of itself, and computes something else."""
    return replace(model, weights={name: tensor.flip(0) for name, tensor in model.weights.items()}, **fields)


def with_spacing(model, spacing):
    return replace(model, plans=replace(model.plans, spacing_mm=(spacing,) * 3))


def same_weights(first, second):
    return all(torch.equal(tensor, second.weights[name]) for name, tensor in first.weights.items())


def models_in(cache):
    return [entry for entry in cache.entries() if entry.kind == "models"]


def compiled_files(cache, model):
    return sorted(cache.compiled_folder(model.key).glob("*.compiled"))
