"""Records of what one run is to do, which go through JSON. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..errors import SpecError
from ..printable import shown
from .serialization import unsaid

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
CALIBRATE = ("auto", "volume", "none")
OUTPUT_GRIDS = ("native", "nearest")
PATCH_WEIGHTS = ("gaussian", "flat")
SMALL_BLOB_MM3 = 200.0  # TotalSegmentator's
CHECKPOINTS = ("final", "best", "latest")  # of nnU-Net's trainings
CROPS = (None, "auto", "none")
STRUCTURE_STATISTICS = (None, "whole", "all")
OUTPUT_TYPES = ("nifti", "nrrd", "mha", "slicer", "seg", "rtstruct", "sr")  # of files with labels
DEFAULT_STEP_FRACTION = 0.5  # nnU-Net's
DEFAULT_METHOD = "tucker"  # of compression, where a strength alone is named
ALLOCATOR = "auto"  # chooses among all methods of compression, see ``compression.ALLOCATOR``
LEAST_AGREEMENT = 0.5  # that may be asked for
SMALLEST_STEP_FRACTION = 0.05  # 8000 patches for every one without overlap
MOST_THREADS = 1024  # more than any processor has cores; some systems end a process that asks for far more
MOST_PATCHES_AT_ONCE = 1024
LARGEST_BLOB_MM3 = 1e9  # a cubic meter
MOST_TIMEPOINTS = 1_000_000
LONGEST_TEXT = 4096  # as long as paths may be


def _check_number(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise SpecError(f"The {name} should be a number from {least:g} to {most:g}; found {shown(value)}.")


def _check_count(name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise SpecError(f"The {name} should be a whole number from 1 to {most}; found {shown(value)}.")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT or "\0" in value:
        raise SpecError(f"The {name} should be text of 1 to {LONGEST_TEXT} characters; found {shown(value)}.")


@dataclass(frozen=True)
class InferenceSpec:
    """How a model is run.

    Attributes:
        step_fraction: Patch step / patch size, from 0.05 to 1; nnU-Net's ``tile_step_size``. None takes the task's own,
            see :meth:`with_step`.
        mirroring: Average over flips along the axes that the model allows.
        device: ``auto``, or an id that ``tuckerseg devices`` lists.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        batch_size: Patches at once.
        threads: Threads on a CPU; None leaves one core free where there are more than two.
        output_grid: ``native``: features interpolated to the input's grid, then argmax (nnU-Net's way, smooth).
            ``nearest``: argmax on the model's grid, then the nearest voxel (TotalSegmentator's way, blocky).
        remove_blobs_mm3: Separate blobs of a structure of up to this volume are removed; 0 keeps all.
        skip_empty: Lay the patches over the body of a CT, where this takes fewer of them than the whole volume, and do
            not run those that hold nothing but air.
        patch_weights: How patches count where they overlap: ``gaussian``, their middle most, as nnU-Net; ``flat``: all
            alike.

    Example:
        >>> careful = InferenceSpec(device="torch:cpu", precision="fp32", mirroring=True)
        >>> result = segment("CT.nii.gz", load_model("demo"), careful)
    """

    VERSION: ClassVar[int] = 1

    step_fraction: float | None = None
    mirroring: bool = False
    device: str = "auto"
    precision: str = "auto"
    batch_size: int = 1
    threads: int | None = None
    output_grid: str = "native"
    remove_blobs_mm3: float = 0.0
    skip_empty: bool = True
    patch_weights: str = unsaid("gaussian")

    def __post_init__(self):
        if self.step_fraction is not None:
            _check_number("step fraction", self.step_fraction, SMALLEST_STEP_FRACTION, 1)
        if self.precision not in PRECISIONS:
            raise SpecError(f"The precision should be one of {', '.join(PRECISIONS)}; found {shown(self.precision)}.")
        if self.output_grid not in OUTPUT_GRIDS:
            names = ", ".join(OUTPUT_GRIDS)
            raise SpecError(f"The output grid should be one of {names}; found {shown(self.output_grid)}.")
        if self.patch_weights not in PATCH_WEIGHTS:
            names = ", ".join(PATCH_WEIGHTS)
            raise SpecError(f"The weights of patches should be one of {names}; found {shown(self.patch_weights)}.")
        _check_text("device", self.device)
        _check_count("batch size", self.batch_size, MOST_PATCHES_AT_ONCE)
        _check_number("volume of blobs to remove (mm3)", self.remove_blobs_mm3, 0, LARGEST_BLOB_MM3)
        if self.threads is not None:
            _check_count("number of threads", self.threads, MOST_THREADS)

    def with_step(self, usual: float | None = None) -> InferenceSpec:
        """These settings with a step fraction: their own, else the task's usual one, else nnU-Net's 0.5."""
        if self.step_fraction is not None:
            return self
        return replace(self, step_fraction=DEFAULT_STEP_FRACTION if usual is None else usual)


@dataclass(frozen=True)
class Step:
    """One step of a compression.

    Attributes:
        method: Compression method.
        spec: Fields of the method's ``Spec``.
        strength: How much of the network is kept, above 0 up to 1, in the method's own measure; 1 keeps all. With it,
            ``spec`` may be left out: the method knows what a mere strength means. None: ``spec`` says it.
    """

    VERSION: ClassVar[int] = 1

    method: str
    spec: dict[str, Any] = field(default_factory=dict)
    strength: float | None = None

    def __post_init__(self):
        if self.strength is not None and not 0 < self.strength <= 1:
            raise SpecError(f"The strength of a compression should lie in (0, 1]; found {self.strength}.")


@dataclass(frozen=True)
class OutputFile:
    """A file of labels that a run writes.

    Attributes:
        path: Where.
        type: ``nifti``, ``nrrd``, ``mha``, ``slicer`` (.seg.nrrd), or DICOM: ``seg``, ``rtstruct``, ``sr``.
        split: One file per structure, in a folder of the path's name without its ending.
    """

    VERSION: ClassVar[int] = 1

    path: str
    type: str
    split: bool = False

    def __post_init__(self):
        _check_text("path of an output", self.path)
        if self.type not in OUTPUT_TYPES:
            known = ", ".join(OUTPUT_TYPES)
            raise SpecError(f"The type of an output should be one of {known}; found {shown(self.type)}.")


@dataclass(frozen=True)
class Job:
    """One run from files to a file: a volume, a model, how it is compressed and run.

    Attributes:
        images: Files, one per channel, or one DICOM folder or zip.
        output: File to write; None returns the labels only.
        model: Name in the catalog, or path.
        method: Compression method; with ``compression`` the short form of ``steps`` for a single one. None: ``steps``
            say it, and where there are none, the model runs as it is.
        compression: Fields of the method's ``Spec``.
        calibrate: Which calibration a compression that needs one uses: ``auto`` takes that of earlier volumes, else
            calibrates on this one; ``volume`` adds this volume to it; ``none`` does without.
        refit: Whether a calibrated compression is fitted once more, to the volume at hand: a minute, and nearer to the
            original on it.
        folds: Folds of the model; None takes all.
        checkpoint: Which of nnU-Net's checkpoints of each fold: ``final``, ``best`` or ``latest``; None takes the final
            one, else the best.
        timepoint: Of a 4D image.
        series: UID or number of a DICOM series; None takes the one that suits the model best.
        structures: Names or groups of the structures that are wanted, see ``catalog.selection.select``;
            only the networks that know one of them are run. None keeps all.
        crop: ``auto``: a fast network finds the box of the structures, and only that is computed. None: so where the
            task's networks are made for such a box. ``none``: never.
        steps: How the model is compressed, each step on what the one before left.
        outputs: Files to write beside ``output``, of any type.
        agreement: In place of steps: the mean Dice with the original network to keep. The fastest network that keeps it
            on held-back patches of the volumes at hand is looked for, by all methods together. None: steps say it.
        ensemble: Further models, by path; the mean of the probabilities of all decides.
        previous_stage: Of a cascade: the model of its first stage; None takes that beside it.
        postprocessing: How labels are cleaned: nnU-Net's ``postprocessing.pkl`` or ``.json``; ``body`` or
            ``vertebrae_pp``: as TotalSegmentator does; ``none``. None: as it does, where the task is its ``body``.
        structure_statistics: Write volume and mean intensity of every structure as TotalSegmentator does: ``whole``: of
            those that the border does not cut; ``all``. None: do not.
        preview: Write a picture of the structures beside the first file.
        save_probabilities: Write the probabilities of all classes beside the first file, as nnU-Net does.

    Example:
        >>> job = Job(images=("CT.nii.gz",), output="labels.nii.gz", model="demo", inference=InferenceSpec(threads=2))
        >>> result = run_job(job)
    """

    VERSION: ClassVar[int] = 1

    images: tuple[str, ...]
    output: str | None = None
    model: str = "demo"
    method: str | None = None
    compression: dict[str, Any] = field(default_factory=dict)
    inference: InferenceSpec = InferenceSpec()
    folds: tuple[str, ...] | None = None
    timepoint: int | None = None
    series: str | None = None
    calibrate: str = "auto"
    refit: bool = False
    structures: tuple[str, ...] | None = None
    crop: str | None = None
    steps: tuple[Step, ...] = ()
    checkpoint: str | None = unsaid(None)
    outputs: tuple[OutputFile, ...] = unsaid(())
    agreement: float | None = unsaid(None)
    ensemble: tuple[str, ...] = unsaid(())
    previous_stage: str | None = unsaid(None)
    save_probabilities: bool = unsaid(False)
    postprocessing: str | None = unsaid(None)
    structure_statistics: str | None = unsaid(None)
    preview: bool = unsaid(False)

    def __post_init__(self):
        if self.agreement is not None:
            _check_number("agreement", self.agreement, LEAST_AGREEMENT, 1)
            if self.method is not None or self.steps:
                raise SpecError("A job names an agreement to keep, or its compression; found both.")
        if self.method is not None and self.steps:
            raise SpecError("A job names its compression once: as method and compression, or as steps; found both.")
        if self.crop not in CROPS:
            raise SpecError(
                f"crop should be one of {', '.join(filter(None, CROPS))}, or None; found {shown(self.crop)}."
            )
        if self.structure_statistics not in STRUCTURE_STATISTICS:
            raise SpecError(
                f"structure_statistics should be whole, all, or None; found {shown(self.structure_statistics)}."
            )
        if self.calibrate not in CALIBRATE:
            raise SpecError(f"calibrate should be one of {', '.join(CALIBRATE)}; found {shown(self.calibrate)}.")
        if self.checkpoint not in (None, *CHECKPOINTS):
            raise SpecError(
                f"checkpoint should be one of {', '.join(CHECKPOINTS)}, or None; found {shown(self.checkpoint)}."
            )
        for name in ("images", "folds", "structures", "ensemble"):
            for each in getattr(self, name) or ():
                _check_text(name, each)
        for name in ("output", "model", "method", "series", "previous_stage", "postprocessing"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        if self.timepoint is not None:
            _check_number("timepoint", self.timepoint, 0, MOST_TIMEPOINTS)

    @property
    def recipe(self) -> tuple[Step, ...]:
        """The steps of the compression, whichever way they were named; none where the model runs as it is."""
        if self.agreement is not None:
            return (Step(ALLOCATOR, {"agreement": self.agreement}),)
        return self.steps if self.method is None else (Step(self.method, self.compression),)


def steps_at(strength: float, method: str = DEFAULT_METHOD) -> tuple[Step, ...]:
    """The steps of a job that compresses by one method.

    Args:
        strength: In the method's own measure, above 0; at 1 and above there are no steps: the original network runs.
        method: Name in ``compression.METHODS``.

    Raises:
        SpecError: The strength is not above 0.
    """
    return () if strength >= 1 else (Step(method, strength=round(strength, 4)),)


def at_strength(job: Job, strength: float) -> Job:
    """A job like another one, its last step at another strength.

    Args:
        job: Its steps keep their other settings; one without steps gets one of the default method.
        strength: In the method's own measure, above 0; at 1 and above the job has no steps.

    Raises:
        SpecError: The strength is not above 0.
    """
    job, recipe = replace(job, method=None, compression={}, steps=(), agreement=None), job.recipe
    if strength >= 1:
        return job
    *before, last = recipe or steps_at(strength)
    return replace(job, steps=(*before, replace(last, strength=strength)))
