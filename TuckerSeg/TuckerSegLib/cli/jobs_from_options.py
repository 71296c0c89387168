"""From what was typed to jobs and settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import catalog
from ..compression import ALLOCATOR, spec_of_options
from ..compression.allocation import options as allocation
from ..errors import ImageError, SpecError
from ..image import Image, read_image
from ..model_zoo import locate
from ..models.loading import load_model
from ..models.modality import modalities_of
from ..models.model import SegmentationModel
from ..models.resolved_job import resolve
from ..nnunet.folder import find_model_folder
from ..printable import shown
from ..records.job import DEFAULT_METHOD, InferenceSpec, Job, Step
from ..records.serialization import to_json

if TYPE_CHECKING:
    from ..analysis.accuracy_curve import Case


def job_of(options: argparse.Namespace, output: str | None = None, strength: float | None = None) -> Job:
    """The job that the options of an input, a model and its inference ask for.

    Args:
        output: File to write; None returns the labels only.
        strength: Of the compression's last step; None takes what the options say.
    """
    return replace(
        compression_job(options, strength),
        images=(options.images, *options.channel),
        output=output,
        inference=inference_of(options),
        timepoint=options.timepoint,
        series=options.series,
        crop=options.crop,
        ensemble=tuple(getattr(options, "ensemble", ())),
        previous_stage=getattr(options, "previous_stage", None),
        postprocessing=getattr(options, "postprocessing", None),
        structure_statistics=getattr(options, "statistics", None),
        preview=getattr(options, "preview", False),
        save_probabilities=getattr(options, "save_probabilities", False),
    )


def output_types_of(options: argparse.Namespace) -> tuple[str, ...] | None:
    """Types of output as typed; None where none is."""
    typed = getattr(options, "output_type", None)
    return None if typed is None else tuple(name.strip() for name in typed.split(",") if name.strip())


def compression_job(options: argparse.Namespace, strength: float | None = None) -> Job:
    """A job that says how to compress, and where what is compressed will run; no image and no output.

    Args:
        strength: As for :func:`job_of`.
    """
    return replace(
        model_job(options),
        inference=_place_of(options),
        calibrate=options.calibrate,
        refit=options.refit,
        structures=structures_of(options),
        steps=steps_of(options, strength),
    )


def model_job(options: argparse.Namespace) -> Job:
    """A job that says which model, and nothing else."""
    return Job(images=(), model=model_named(options), folds=folds_of(options), checkpoint=options.checkpoint)


def model_of(options: argparse.Namespace) -> SegmentationModel:
    """The model that the options name, as it is on disk.

    Raises:
        ModelFolderError, UnsupportedModelError, ModelFileError, DownloadError: See ``models.loading.load_model``.
    """
    return load_model(model_named(options), folds_of(options), checkpoint=options.checkpoint)


def model_named(options: argparse.Namespace) -> str:
    """Name or path of the model, where ``--configuration`` chooses one of several with the place of that one.

    Raises:
        SpecError: Models that have no configurations to choose from.
        ModelFolderError: No such configuration.
    """
    name, configuration = options.model, getattr(options, "model_configuration", None)
    if configuration is None:
        return name
    wrong = None
    if getattr(options, "server", None):
        wrong = "a server's models are named, and each is one configuration"
    elif catalog.task(name) is not None:
        wrong = f"the task {name} has its own"
    if wrong is None:
        path, folds = locate(name, folds_of(options))
        if path.suffix != ".tuckerseg":
            return str(find_model_folder(path, folds, options.checkpoint, configuration).root)
        wrong = f"{path} holds the network of one"
    raise SpecError(f"--configuration is for folders and zips of nnU-Net models; {wrong}. Leave it out.")


def volume_of(options: argparse.Namespace) -> Callable[[], Image] | None:
    """Reads the volume to calibrate on when it is asked for; None where ``--ct`` names none."""

    def read() -> Image:
        return read_image(options.ct, modality=modalities_of(resolve(model_job(options))))

    return read if options.ct else None


def inference_of(options: argparse.Namespace) -> InferenceSpec:
    """How the options want a model run."""
    return replace(
        _place_of(options),
        step_fraction=options.step,
        mirroring=options.mirror,
        batch_size=options.batch,
        output_grid=options.output_grid,
        remove_blobs_mm3=options.remove_small_blobs,
        skip_empty=not options.no_skip,
    )


def _place_of(options: argparse.Namespace) -> InferenceSpec:
    """Where the options want a model run, as far as they say it: device, precision and threads."""
    place = {name: getattr(options, name) for name in ("device", "precision", "threads") if name in options}
    return InferenceSpec(**place)


def repair_precision(precision: str = "auto", device: str = "auto") -> str:
    """The precision of a training: the one asked for; of ``auto`` that in which the device is fast.

    Raises:
        BackendError: No training runs on the device.
    """
    from ..training.device import training_device, training_precision

    return training_precision(training_device(device)) if precision == "auto" else precision


def cases_of(volumes: list[Image], references: list[Image]) -> list[Case]:
    """Volumes with their reference labels, in the order given.

    Raises:
        SpecError: As many references as volumes, or none, were expected.
        ImageError: A reference lies on another grid than its volume.
    """
    from ..analysis.accuracy_curve import Case

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


def steps_of(options: argparse.Namespace, strength: float | None = None) -> tuple[Step, ...]:
    """The compression that the options ask for; none for the original network.

    Args:
        strength: Of the last step; None takes what is typed.

    Raises:
        SpecError: Options that contradict each other, or a method of which is not said how far it goes.
    """
    named = [] if options.method is None else options.method.split(",")
    methods = [_method_and_strength(each) for each in named] or [(DEFAULT_METHOD, None)]
    if strength is not None:
        methods[-1] = (methods[-1][0], strength)
    if allocation.is_asked_for([name for name, _ in methods] if named else [], options):
        ((name, own_strength),) = methods
        if not named and getattr(options, "agreement", None) is not None:
            name = ALLOCATOR
        spec = allocation.spec_of(options, own_strength, name)
        if spec is None:
            raise SpecError(f"How far should {name} compress? Say it as --method {name}:0.5 or --agreement 0.98.")
        return (_step(ALLOCATOR, spec),)
    steps = []
    for name, own_strength in methods:
        spec = spec_of_options(name, options, own_strength)
        if spec is not None:
            steps.append(_step(name, spec))
        elif named:
            raise SpecError(f"How far should {name} compress? Say it by its own options, or as --method {name}:0.5.")
    return tuple(steps)


def _step(method: str, spec: Any) -> Step:
    """A step by its method's ``Spec``."""
    fields = to_json(spec)
    fields.pop("version")
    return Step(method, fields)


def _method_and_strength(text: str) -> tuple[str, float | None]:
    """``toy:0.5`` as typed."""
    name, _, strength = text.strip().partition(":")
    try:
        return name, float(strength) if strength else None
    except ValueError:
        raise SpecError(
            f"The strength of a method is a number in (0, 1], as --method {name}:0.5; found '{text}'."
        ) from None


def folds_of(options: argparse.Namespace) -> tuple[str, ...] | None:
    """Folds to use; None for all."""
    return tuple(fold.strip() for fold in options.folds.split(",")) if options.folds else None


def structures_of(options: argparse.Namespace) -> tuple[str, ...] | None:
    """Structures as typed; None for all."""
    named = getattr(options, "structures", None)
    return None if named is None else tuple(named.split(","))


def numbers_of(text: str, option: str) -> list[float]:
    """Numbers as typed, ``0.5,0.8``, each once.

    Raises:
        SpecError: Something else.
    """
    try:
        return list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise SpecError(f"{option} takes numbers as 0.5,0.8; found {shown(text)}.") from None


def strengths_of(text: str) -> list[float]:
    """Strengths below 1 in the order given; the original network is run in any case.

    Raises:
        SpecError: Not numbers above 0 and up to 1, or nothing below 1.
    """
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        raise SpecError(f"Strengths (--ranks, --factors) are numbers as 0.85,0.7; found '{text}'.") from None
    if not all(0 < ratio <= 1 for ratio in ratios):
        raise SpecError(f"Strengths (--ranks, --factors) lie above 0 and up to 1; found '{text}'.")
    below = [ratio for ratio in dict.fromkeys(ratios) if ratio < 1]
    if not below:
        raise SpecError(
            "At least one strength (--ranks, --factors) below 1 is needed to compare with the original network."
        )
    return below
