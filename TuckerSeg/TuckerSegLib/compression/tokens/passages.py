"""Where tokens pass the blocks of a network, and how other ways to pass are put there."""

from __future__ import annotations

from torch import nn

from ...errors import SpecError
from ..layers import replace_modules
from .learned import CorrectedPassage
from .merging import MergedPassage
from .passage import SparsePassage
from .spec import Spec


def passages(network: nn.Module) -> dict[str, nn.Module]:
    """Path to every module that takes tokens through a network's blocks: it says so by its ``runs_blocks``.

    Raises:
        SpecError: There is none, or it leaves out tokens already.
    """
    by_path = {path: module for path, module in network.named_modules() if getattr(module, "runs_blocks", False)}
    if not by_path:
        raise SpecError(
            "The method tokens is for transformers, as Primus is, and this network has no tokens. Take another method."
        )
    if any(getattr(module, "assembles", False) for module in by_path.values()):
        raise SpecError("This network leaves out tokens itself, as it was trained to. Take another method.")
    return by_path


def put_passages(network: nn.Module, spec: Spec) -> None:
    """Let tokens be left out, as a spec says, wherever a network has any; in place."""
    replace_modules(network, {old: sparse_passage(old, spec) for old in passages(network).values()})


def fix_numbers(network: nn.Module) -> None:
    """Let every patch keep the same number of tokens, as programs do that want fixed shapes; in place."""
    for module in network.modules():
        if isinstance(module, (SparsePassage, CorrectedPassage, MergedPassage)):
            module.fixed = True


def sparse_passage(old: nn.Module, spec: Spec) -> nn.Module:
    """The passage of a spec in place of an old one.

    Raises:
        SpecError: The spec names a block that is not there, or tokens have no channels for what is to be learned.
    """
    if spec.learned:
        return CorrectedPassage(old, spec.keep_ratio, spec.blocks_of(old.depth), spec.air).train(old.training)
    if spec.merged:
        merged = MergedPassage(old.cell, old.grid, old.registers, old.depth, spec.keep_ratio, spec.air, spec.paired)
        return merged.train(old.training)
    passage = SparsePassage(old.cell, old.registers, old.depth, spec.keep_ratio, spec.blocks_of(old.depth), spec.air)
    return passage.train(old.training)
