"""The options of weight sharing on the command line. Knows nothing of torch."""

from __future__ import annotations

import argparse

from ...typed_numbers import real, whole
from .spec import CODEBOOKS, QUANTIZERS, SCALES, Spec


def add_options(parser: argparse.ArgumentParser, strength: bool = True) -> None:
    """Add the options of weight sharing to a command.

    Args:
        parser: Of the command; changed in place.
        strength: False leaves out how far to compress, for a command that tries several strengths.
    """
    group = parser.add_argument_group("weight sharing (--method sharing)")
    group.add_argument(
        "--quantizer",
        choices=QUANTIZERS,
        default=Spec.quantizer,
        help="cws: k-means; pws: stochastic rounding; uq: uniform; ecsq: entropy-constrained (default: %(default)s)",
    )
    if strength:
        group.add_argument(
            "--clusters", type=whole, help=f"shared values of a codebook, up to 65536 (default: {Spec.clusters})"
        )
    group.add_argument(
        "--codebook",
        choices=CODEBOOKS,
        default=Spec.codebook,
        help="tensor: one per kernel, weighted by the calibration; global: one for all (default: %(default)s)",
    )
    group.add_argument(
        "--weight-scale",
        choices=SCALES,
        default=Spec.scale,
        help="divide kernels by their root mean square first, whole or per output channel (default: %(default)s)",
    )
    group.add_argument(
        "--lambda",
        dest="rate_weight",
        type=real,
        default=Spec.rate_weight,
        metavar="L",
        help="of ecsq: relative squared error that one nat less per index is worth, as 0.0001 (default: 0)",
    )
    group.add_argument(
        "--sparsity", type=real, default=Spec.sparsity, help="share of the weights set to zero first (default: 0)"
    )


def spec_of(options: argparse.Namespace, strength: float | None = None) -> Spec:
    """The weight sharing that options of the command line ask for.

    Args:
        options: As the parser that :func:`add_options` changed has read them.
        strength: As typed beside the method's name, see ``Spec.at``; None takes the number of clusters.

    Raises:
        SpecError: An option out of its range.
    """
    clusters = getattr(options, "clusters", None)
    spec = Spec(
        Spec.clusters if clusters is None else clusters,
        options.quantizer,
        options.codebook,
        options.weight_scale,
        options.rate_weight,
        options.sparsity,
    )
    return spec if strength is None else spec.with_strength(strength)
