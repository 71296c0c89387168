"""From what was typed to jobs and settings."""

from __future__ import annotations

import argparse
from typing import Any

from ..analysis.accuracy_curve import Case
from ..errors import ImageError, SpecError
from ..image import Image
from ..records.job import DEFAULT_COMPRESSION, InferenceSpec, Job
from ..records.serialization import to_json

PAPER_RANK_RATIO = 0.3  # the Tucker paper's recommendation


def job_of(options: argparse.Namespace, output: str | None = None) -> Job:
    """The job that the options of an input, a model and its inference ask for."""
    spec = compression_spec(options)
    return Job(
        images=(options.images, *options.channel),
        output=output,
        model=options.model,
        method="tucker" if spec else None,
        compression=spec or {},
        inference=inference_of(options),
        folds=folds_of(options),
        timepoint=options.timepoint,
        calibrate=options.calibrate,
        refit=options.refit,
        structures=structures_of(options),
        crop=options.crop,
    )


def compression_job(options: argparse.Namespace) -> Job:
    """A job that says how to compress, and where what is compressed will run; no image and no output."""
    spec = compression_spec(options)
    place = {name: getattr(options, name) for name in ("device", "precision", "threads") if name in options}
    return Job(
        (),
        model=options.model,
        method="tucker" if spec else None,
        compression=spec or {},
        inference=InferenceSpec(**place),
        folds=folds_of(options),
        calibrate=options.calibrate,
        refit=options.refit,
        structures=structures_of(options),
    )


def inference_of(options: argparse.Namespace) -> InferenceSpec:
    """How the options want a model run."""
    return InferenceSpec(
        step_fraction=options.step,
        mirroring=options.mirror,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch,
        threads=options.threads,
        output_grid=options.output_grid,
        remove_blobs_mm3=options.remove_small_blobs,
        skip_empty=not options.no_skip,
    )


def cases_of(volumes: list[Image], references: list[Image]) -> list[Case]:
    """Volumes with their reference labels, in the order given.

    Raises:
        SpecError: As many references as volumes, or none, were expected.
        ImageError: A reference lies on another grid than its volume.
    """
    if references and len(references) != len(volumes):
        raise SpecError(f"--reference is wanted once per volume or not at all; found {len(references)}.")
    cases = []
    for number, volume in enumerate(volumes):
        labels = references[number].array[0] if references else None
        if labels is not None and labels.shape != volume.geometry.shape:
            raise ImageError(
                f"{references[number].source}: the labels have {labels.shape} voxels (Z Y X), "
                f"but {volume.source} has {volume.geometry.shape}. Give labels on the volume's own grid."
            )
        cases.append(Case(volume, None if labels is None else labels.astype(int)))
    return cases


def compression_spec(options: argparse.Namespace) -> dict[str, Any] | None:
    """Fields of the Tucker ``Spec`` that the options ask for; None for the original network.

    Raises:
        SpecError: Options that contradict each other.
    """
    from ..compression.tucker.method import Spec

    policy, ratio = options.policy, options.rank
    if ratio is None and policy not in ("paper", "evbmf", "fixed"):
        return None
    if policy == "paper":
        ratio = PAPER_RANK_RATIO if ratio is None else ratio
        spec = Spec.paper(ratio, minimum_rank=options.minimum_rank, rank_mode=options.rank_mode)
    else:
        if policy == "uniform" and options.rank_mode == "fixed":
            policy = "fixed"
        # Where the ranks do not come from the ratio, one below 1 says that the network is to be compressed.
        ratio = PAPER_RANK_RATIO if ratio is None else ratio
        mode = "relative" if policy == "uniform" else policy
        multiple = DEFAULT_COMPRESSION["rank_multiple"] if mode == "auto" else Spec.rank_multiple
        spec = Spec(
            ratio, rank_mode=mode, budget=options.budget, minimum_rank=options.minimum_rank, rank_multiple=multiple
        )
    fields = to_json(spec)
    fields.pop("version")
    return fields


def folds_of(options: argparse.Namespace) -> tuple[str, ...] | None:
    """Folds to use; None for all."""
    return tuple(fold.strip() for fold in options.folds.split(",")) if options.folds else None


def structures_of(options: argparse.Namespace) -> tuple[str, ...] | None:
    """Structures as typed; None for all."""
    named = getattr(options, "structures", None)
    return None if named is None else tuple(named.split(","))


def rank_ratios_of(text: str) -> list[float]:
    """Rank ratios below 1 in the order given; the original network is run in any case.

    Raises:
        SpecError: Not numbers above 0 and up to 1, or nothing below 1.
    """
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        raise SpecError(f"Ranks are numbers as 0.85,0.7; found '{text}'.") from None
    if not all(0 < ratio <= 1 for ratio in ratios):
        raise SpecError(f"Rank ratios lie above 0 and up to 1; found '{text}'.")
    below = [ratio for ratio in dict.fromkeys(ratios) if ratio < 1]
    if not below:
        raise SpecError("At least one rank ratio below 1 is needed to compare with the original network.")
    return below
