"""``tuckerseg inspect``: layers of a model, what compression makes of them, costs, and why layers stay dense."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from ... import compression
from ...cache import Cache
from ...compression.profiler_macs import profiler_macs
from ...models.allocated import known_shares
from ...models.job_compression import planned_steps
from ...models.model import SegmentationModel
from ...models.planning import plan_compression
from ...models.resolved_job import resolve
from ...nnunet.network_classes import TRANSFORMERS
from ...records.compression import CompressionRecipe, Cost
from ...records.job import ALLOCATOR, DEFAULT_METHOD
from ...records.serialization import to_json
from ..jobs_from_options import compression_job, model_of, steps_of
from ..output import say, show_json


def inspect(options: argparse.Namespace) -> None:
    """``tuckerseg inspect``: decides, but decomposes nothing."""
    model = model_of(options)
    recipes = [recipe for recipe in model.recipes if recipe.changes]  # a training has none
    applied = [recipe.method for recipe in recipes]
    steps = tuple(step for step in steps_of(options) if step.method not in applied)
    resolved = resolve(replace(compression_job(options), steps=steps))
    recipes += [plan.recipe for plan in planned_steps(model, resolved, Cache())]
    if not recipes:  # nothing is done to the model: its layers as they are
        keeps_network = compression.method(DEFAULT_METHOD).Spec.at(1.0)
        recipes = [plan_compression(model, keeps_network, DEFAULT_METHOD).recipe]
    changes = [(recipe.method, change) for recipe in recipes for change in recipe.changes]
    if options.json:
        show_json([{**to_json(change), **change.details} for _, change in changes])
        return
    say(f"{'layer':44}{'weight (as stored)':>22}{'becomes':>12}{'MMACs':>10}{'after':>10}  stays as it is because")
    for method, change in changes:
        words = compression.layer_words(method, change) or "as it is"
        shape = " ".join(map(str, change.shape))
        say(
            f"{change.path:44}{shape:>22}{words:>12}{change.before.macs / 1e6:10.1f}{change.after.macs / 1e6:10.1f}"
            f"  {change.skipped_because or ''}"
        )
    saved = sum((change.before - change.after for _, change in changes), Cost(0, 0))
    before = sum((change.before for change in recipes[0].changes), Cost(0, 0))
    after, patch_shape = before - saved, model.plans.patch_shape
    say(f"Convolutions: {before.macs / 1e9:.3f} -> {after.macs / 1e9:.3f} GMACs for one patch of {patch_shape}")
    say(f"              {before.parameters / 1e6:.6f} -> {after.parameters / 1e6:.6f} million parameters")
    for method, spec in resolved.steps:
        if method == ALLOCATOR and (shares := known_shares(model, spec, resolved.inference, Cache())):
            target = f"the agreement {spec.agreement:g}" if spec.agreement is not None else f"{spec.share:.2f}"
            words = "predicted {:.2f}, measured {:.2f}".format(*shares)
            say(f"Time of a patch, of the original's: asked {target}, {words}")
    if model.plans.architecture.class_name in TRANSFORMERS:
        say(_as_profiled(model, recipes))


def _as_profiled(model: SegmentationModel, recipes: Sequence[CompressionRecipe]) -> str:
    """What a transformer costs in the count that TokenSparse is published with."""
    plans, counts = model.plans, []
    for own in ((), tuple(recipes)):
        structure = replace(model, recipes=own).structure()
        counts.append(profiler_macs(structure, plans.patch_shape, plans.input_channels) / 1e9)
    return (
        f"As torchprofile counts, and TokenSparse: {counts[0]:.3f} -> {counts[1]:.3f} GMACs (attention's products, and "
        "transposed convolutions by the voxels of their output; one for each weighted norm's and attention's element)"
    )
