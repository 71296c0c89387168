"""Decompositions of a model's networks, and what they say of the ranks, kept in the cache."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import tensor_file
from ..cache import Cache, entry_name, key_of
from ..errors import ModelFileError
from .model import SegmentationModel

if TYPE_CHECKING:
    import torch

    from ..compression.tucker.basis import Basis, RankEvidence
    from ..compression.tucker.calibrated_basis import CalibratedBasis
    from .calibration import ModelCalibration

Report = Callable[[float], None] | None


def network_basis(
    model: SegmentationModel, fold: str, network: torch.nn.Module, cache: Cache, progress: Report = None
) -> Basis:
    """The full decomposition of one fold's network, from the cache or made now.

    Args:
        network: That of the fold.
        progress: Called with the fraction done; may raise to stop.
    """
    from ..compression.tucker.basis import Basis, decompose

    def make() -> Basis:
        return decompose(network, progress)

    key = key_of(source=model.key, fold=fold, kind="basis")
    return _kept(cache, key, model, Basis, make)


def calibrated_basis(fold: str, network: torch.nn.Module, calibration: ModelCalibration) -> CalibratedBasis:
    """One fold's network in the norm of its calibration; nothing slow is done yet."""
    from ..compression.tucker.calibrated_basis import CalibratedBasis

    return CalibratedBasis.of(network, calibration.folds[fold])


def rank_evidence(
    model: SegmentationModel, spec: Any, cache: Cache, calibration: ModelCalibration | None, progress: Report = None
) -> RankEvidence | None:
    """What the ranks of a compression are decided by, all folds together; None where it looks at no weights.

    Args:
        model: The original.
        spec: ``compression.tucker.Spec``.
        calibration: The one that the spec names; None for errors of the weights alone.
        progress: Called with the fraction done; may raise to stop.
    """
    from ..compression.tucker.basis import RankEvidence

    if not spec.looks_at_weights:
        return None
    found = None
    for number, fold in enumerate(model.folds):
        network = model.network(fold)
        report = progress and (lambda done, start=number: progress((start + done) / len(model.folds)))
        if calibration is None:
            each = network_basis(model, fold, network, cache, report).evidence()
        else:
            key = evidence_key(model, fold, calibration.sha256, spec.rank_multiple)
            basis = calibrated_basis(fold, network, calibration)
            make = functools.partial(basis.evidence, spec.rank_multiple, report)
            each = _kept(cache, key, model, RankEvidence, make)
        found = found.plus(each) if found else each
    return found


def kept_evidence(
    model: SegmentationModel, spec: Any, cache: Cache, calibration: ModelCalibration
) -> RankEvidence | None:
    """What :func:`rank_evidence` gives, where it is in the cache already; nothing slow is done."""
    keys = [evidence_key(model, fold, calibration.sha256, spec.rank_multiple) for fold in model.folds]
    if not all(cache.find("bases", key) for key in keys):
        return None
    return rank_evidence(model, spec, cache, calibration)


def evidence_key(model: SegmentationModel, fold: str, calibration_sha256: str, rank_multiple: int) -> str:
    """Key under which the evidence of a calibration is kept."""
    return key_of(source=model.key, fold=fold, calibration=calibration_sha256, multiple=rank_multiple)


def _kept(cache: Cache, key: str, model: SegmentationModel, kind: type, make: Callable[[], Any]) -> Any:
    """What is stored under a key, else what ``make`` gives, stored."""
    entry = entry_name("bases", key)
    if path := cache.find("bases", key):
        try:
            tensors, _ = tensor_file.read_tensors(path, entry)
            if not all(tensor.isfinite().all() for tensor in tensors.values()):
                raise ModelFileError(f"{path} should hold finite numbers.")
            return kind.from_tensors(tensors)
        except (ModelFileError, KeyError, ValueError, TypeError) as error:
            cache.discard("bases", key)
            warnings.warn(f"A cached file could not be used and is made again: {error}", stacklevel=3)
    made = make()
    note = {"of": model.name}
    cache.store("bases", key, lambda path: tensor_file.write_tensors(path, made.to_tensors(), note, entry))
    return made
