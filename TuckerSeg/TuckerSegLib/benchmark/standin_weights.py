"""Random weights of low rank for a network that nnU-Net builds.

Time and memory do not depend on what the weights are. What they mean is nevertheless chosen with care: every
convolution but the first and the head has Tucker rank (channels / 4), so the network compressed to rank 1/3 computes
the same labels as the original. Agreement between the two therefore checks the whole compressed path; it says
nothing about what compression costs a *trained* network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

RANK_DIVISOR = 4  # rank = channels / 4 is below rank 1/3, however that is rounded to multiples of 8
SKIP_SCALE = 0.1  # weight of the full-resolution skip in the last stage: larger, smoother structures
ROUGHNESS = 0.3  # deviation of the kernels from smooth ones, which would give noise as labels if it were large


def standin_network(plans: dict[str, Any], dataset: dict[str, Any], seed: int) -> torch.nn.Module:
    """Build the network as nnU-Net does and give it its seeded weights."""
    import warnings

    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected old nnU-Net plans format")
        configuration = PlansManager(plans).get_configuration("3d_fullres")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            len(dataset["channel_names"]),
            len(dataset["labels"]),
            deep_supervision=False,
        )
        for module in network.modules():
            if isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)) and min(module.weight.shape[:2]) > 1:
                _lower_rank(module)
        last_stage = network.decoder.stages[-1].convs[0].conv
        last_stage.weight[:, last_stage.in_channels // 2 :] *= SKIP_SCALE
    return network.eval()


def _lower_rank(module: torch.nn.Module) -> None:
    """Replace a kernel in place by a random one of a quarter of the ranks and He-normal deviation; heads stay full."""
    import torch

    weight = module.weight
    if weight.shape[2:].numel() == 1:
        return
    ranks = [size // RANK_DIVISOR for size in weight.shape[:2]]
    core = torch.randn(*ranks, 1, 1, 1) * _smooth_kernel(weight.shape[2:]) + ROUGHNESS * torch.randn(
        *ranks, *weight.shape[2:]
    )
    first, second = (torch.randn(size, rank) for size, rank in zip(weight.shape[:2], ranks))
    # One factor after the other: einsum would multiply both factors first, 600 million values for the widest layer.
    kernel = torch.einsum("is,oszyx->oizyx", second, torch.einsum("or,rszyx->oszyx", first, core))
    fan_in = module.in_channels * weight.shape[2:].numel()
    weight.copy_(kernel * ((2.0 / fan_in) ** 0.5 / kernel.std()))  # He et al. 2015, as nnU-Net initializes


def _smooth_kernel(shape: tuple[int, ...]) -> torch.Tensor:
    """Separable binomial kernel (1 2 1 along an axis of three, 1 1 along two), largest value 1."""
    import torch

    axes = [torch.tensor([0.5, 1.0, 0.5]) if size == 3 else torch.ones(size) for size in shape]
    return torch.einsum("z,y,x->zyx", *axes)
