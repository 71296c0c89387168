"""Compresses the network of an nnunetv2 ``nnUNetPredictor``, for people with inference scripts of their own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ..compression.tucker import method as tucker
from ..errors import SpecError

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor


def compress_predictor(predictor: nnUNetPredictor, spec: Any) -> None:
    """Swap, in place, the network and the weights of every fold for their Tucker-compressed form.

    Only the predictor's own attributes change; nnunetv2 is not patched.

    Args:
        predictor: After ``initialize_from_trained_model_folder``.
        spec: ``TuckerSpec``.

    Raises:
        SpecError: The predictor is not initialized.
    """
    if getattr(predictor, "network", None) is None or not predictor.list_of_parameters:
        raise SpecError("The predictor has no network yet: call initialize_from_trained_model_folder first.")
    patch_shape = tuple(predictor.configuration_manager.patch_size)
    states, network = [], None
    for parameters in predictor.list_of_parameters:
        network = copy.deepcopy(predictor.network).cpu()
        network.load_state_dict(parameters)
        changes = tucker.plan(network, spec, patch_shape)
        tucker.apply(network, changes, tucker.decompose(network))
        # Copies: the predictor loads the folds one after the other into this very network.
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
    predictor.network = network
    predictor.list_of_parameters = states
