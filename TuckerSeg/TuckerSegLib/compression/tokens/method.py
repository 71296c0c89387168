"""Token sparsification: fewer of a patch's tokens pass a transformer's blocks.

After TokenSparse (Zhou et al., IPMI 2023, arXiv:2303.06522), which learns which tokens go and how the others fill their
places. Here nothing need be learned: tokens that are alike pass the blocks as one (merging.py); or tokens outside the
body go first, then those that a block changed least, and each is decoded from the embedding that it had when it went
(passage.py). A training adds what learns (learned.py). ``plan`` decides and touches nothing; that the labels stay is
tried by ``prepare`` (material.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import nn

from ...errors import SpecError
from ...printable import shown
from ...records.compression import Cost, LayerChange
from ..cost import count
from ..layers import replace_modules
from ..trace import structure_of
from .details import TokenDetails
from .material import Material
from .passages import passages, put_passages, sparse_passage
from .spec import Spec


def plan(
    network: nn.Module,
    spec: Spec,
    patch_shape: Sequence[int],
    input_channels: int | None = None,
    materials: Sequence[Material] = (),
) -> tuple[LayerChange, ...]:
    """Decide how many tokens go on. Touches nothing; works on the meta device too.

    Costs are those of a patch that is full of body: of others, fewer tokens go on where air is known.

    Args:
        network: From (B, C, Z, Y, X) to logits.
        spec: The share of tokens that is asked for.
        patch_shape: (Z, Y, X) in voxels, for the costs.
        input_channels: C; None takes the input channels of the network's first convolution.
        materials: What ``prepare`` gave for each of the networks that keep this share; only for a spec that needs
            weights.

    Returns:
        One entry per place where tokens pass blocks, then one per layer, most of which have less to do.

    Raises:
        SpecError: The network has no tokens or cannot take such a patch, or materials are needed and missing.
    """
    if spec.needs_weights and not materials:
        raise SpecError(f"which tokens may go at an agreement of {spec.agreement} is tried on patches; found no trial")
    ratio = max([each.keep_ratio for each in materials], default=spec.keep_ratio)
    places, modules = passages(network), dict(network.named_modules())
    before = count(network, patch_shape, input_channels).layers
    if ratio >= 1:
        agreed = min([each.agreement for each in materials if each.agreement is not None], default=None)
        reason = "all tokens are kept" if agreed is None else f"agreement of {agreed:.3f} with fewer tokens"
        if any(each.slower for each in materials):
            reason = "merging hardly any tokens would take longer"
        costs = dict.fromkeys(places, Cost(0, 0)) | before
        return tuple(_change(path, modules[path], cost, cost, reason) for path, cost in costs.items())
    kept = replace(spec.bound(), keep_ratio=ratio)
    sparse = structure_of(network)
    put_passages(sparse, kept)
    after = count(sparse, patch_shape, input_channels).layers
    changes = []
    for path, each in places.items():
        own = sum((cost for layer, cost in after.items() if layer.startswith(f"{path}.")), after.get(path, Cost(0, 0)))
        blocks = None if kept.merged else kept.blocks_of(each.depth)
        details = TokenDetails(ratio, blocks, spec.air, spec.learned, spec.merged, spec.paired)
        changes.append(_change(path, each, Cost(0, 0), own, None, details))
    for path, cost in before.items():
        reason = "it gets all tokens" if after[path] == cost else None
        changes.append(_change(path, modules[path], cost, after[path], reason))
    return tuple(changes)


def apply(network: nn.Module, changes: Iterable[LayerChange], material: Material | None = None) -> None:
    """Let tokens be left out, in place.

    Args:
        network: Changed in place; no weight is.
        changes: What :func:`plan` decided for a network of this structure.
        material: Makes no difference: the changes say all.

    Raises:
        SpecError: The changes belong to another network; nothing has been changed then.
        ModelFileError: The changes are not those of this method.
    """
    modules, replacements = dict(network.named_modules()), {}
    for change in changes:
        details, module = TokenDetails.from_change(change), modules.get(change.path)
        if module is None or type(module).__name__ != change.kind:
            actual = "no such module" if module is None else type(module).__name__
            raise SpecError(f"{shown(change.path)}: planned for a {shown(change.kind)}, found {actual}")
        if details is None:
            continue
        if not getattr(module, "runs_blocks", False):
            raise SpecError(f"{shown(change.path)}: no tokens pass blocks here")
        replacements[module] = sparse_passage(module, details.spec)
    replace_modules(network, replacements)


def for_training(
    network: nn.Module, spec: Spec, changes: Sequence[LayerChange], patch_shape: Sequence[int], input_channels: int
) -> tuple[Spec, tuple[LayerChange, ...]]:
    """What was done to a network, with layers that learn which tokens go and how the sequence is completed.

    Where tokens were merged, as large a share goes on after each of some blocks: what learns chooses who leaves.

    Args:
        network: As it was before, on the meta device.
        spec, changes: Of what was done.
        patch_shape, input_channels: For the costs.
    """
    details = next(filter(None, map(TokenDetails.from_change, changes)), None)
    if details is None or details.learned:
        return spec, tuple(changes)
    done = replace(details.spec, merged=False, paired=False, learned=True)
    return replace(spec, merged=False, paired=False, learned=True), plan(network, done, patch_shape, input_channels)


def _change(
    path: str, module: nn.Module, before: Cost, after: Cost, reason: str | None, details: TokenDetails | None = None
) -> LayerChange:
    weight = getattr(module, "weight", None)
    return LayerChange(
        path=path,
        kind=type(module).__name__,
        shape=() if weight is None else tuple(weight.shape),
        before=before,
        after=after,
        skipped_because=reason,
        details={} if details is None else details.to_json(),
    )
