"""Compresses the network of an nnunetv2 ``nnUNetPredictor``, for people with inference scripts of their own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .. import compression
from ..errors import SpecError
from ..monitor import Monitor
from ..records.job import DEFAULT_METHOD

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor


def compress_predictor(predictor: nnUNetPredictor, spec: Any, method: str = DEFAULT_METHOD) -> None:
    """Swap, in place, the network and the weights of every fold for their compressed form.

    Only the predictor's own attributes change; nnunetv2 is not patched.

    Args:
        predictor: After ``initialize_from_trained_model_folder``.
        spec: The method's, as ``TuckerSpec``; nothing is calibrated.
        method: Name in ``compression.METHODS``.

    Raises:
        SpecError: The predictor is not initialized.

    Example:
        >>> compress_predictor(predictor, TuckerSpec(rank_ratio=0.5))
    """
    if getattr(predictor, "network", None) is None or not predictor.list_of_parameters:
        raise SpecError("The predictor has no network yet: call initialize_from_trained_model_folder first.")
    patch_shape = tuple(predictor.configuration_manager.patch_size)
    module, networks = compression.method(method), []
    for parameters in predictor.list_of_parameters:
        networks.append(copy.deepcopy(predictor.network).cpu())
        networks[-1].load_state_dict(parameters)
    materials = [module.prepare(network, spec, None, _memory_keep(), Monitor()) for network in networks]
    changes = module.plan(networks[0], spec, patch_shape, None, materials)
    states = []
    for network, material in zip(networks, materials):
        module.apply(network, changes, material)
        # Copies: the predictor loads the folds one after the other into this very network.
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
    predictor.network = network
    predictor.list_of_parameters = states


def _memory_keep() -> Callable:
    """The ``keep`` of a method's ``prepare`` for one network: in memory."""
    kept_tensors: dict[str, Any] = {}

    def keep(facts: Mapping[str, Any], make: Callable[[], Any], read: Callable[[Any], Any] = dict) -> Any:
        name = json.dumps(facts, sort_keys=True)
        if name not in kept_tensors:
            kept_tensors[name] = make()
        return read(kept_tensors[name])

    return keep
