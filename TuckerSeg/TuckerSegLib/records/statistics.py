"""Statistics of a run: the record, and the record as tables for people."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from typing import ClassVar

from ..printable import one_line
from .quality_report import QualityReport, part_in_words

PACKAGES = ("tuckerseg", "torch", "openvino", "nnunetv2", "tensorly", "numpy", "SimpleITK")
STAGE_TITLES = {
    "download": "Downloading the model",
    "unpack": "Unpacking the model",
    "waiting": "Waiting for the server, which computes for others",
    "hand over": "Handing over the volume",
    "read": "Reading the image",
    "load": "Loading the model",
    "calibrate": "Calibrating the compression",
    "measure": "Measuring this computer",
    "compress": "Compressing the model",
    "refit": "Fitting the compressed network to the volume",
    "repair": "Repairing the compressed network",
    "dataset": "Preparing the data set",
    "fine-tune": "Fine-tuning the compressed network",
    "locate": "Finding the box of the structures",
    "prepare": "Preparing the device",
    "preprocess": "Resampling",
    "network": "Running the network",
    "finish": "Finishing the labels",
    "clean": "Removing small blobs",
    "write": "Writing the result",
    "import": "Loading the result",
}


@dataclass(frozen=True)
class Structure:
    """One structure that was found: its label value, name, and volume in ml."""

    value: int
    name: str
    volume_ml: float


@dataclass(frozen=True)
class PartStatistics:
    """Statistics of one network of a run; see :class:`RunStatistics` for fields of the same names.

    Attributes:
        name: Of the part of the task; of the model where it is alone.
        key: Changes with anything that changes the network's output.
        architecture: Key of the original network's architecture, see ``models.architecture_key``.
        grid_voxels: Of the volume on the network's grid.
        patches_skipped: Patches of the volume that were spared.
        seconds: Wall-clock seconds per stage that were spent on this network.
        structures: How many it found.
    """

    VERSION: ClassVar[int] = 1

    name: str
    key: str
    architecture: str
    source_sha256: str
    compression: str
    grid_voxels: int
    original_parameters: int
    parameters: int
    original_macs_per_patch: int
    macs_per_patch: int
    original_macs_per_volume: int
    macs_per_volume: int
    patches: int
    seconds: dict[str, float]
    structures: int
    patches_skipped: int = 0


@dataclass(frozen=True)
class RunStatistics:
    """Statistics of a run. Names say units; ``original_*`` is the model before compression; 1 MAC = 2 FLOPs.

    Of a task of several networks, parameters, multiply-accumulates and patches are those of all of them together.

    Attributes:
        seconds: Wall-clock seconds per stage. Reading the image and loading the model overlap, so ``total`` is
            less than the sum.
        macs_per_patch: One patch through all networks and folds, without mirroring.
        macs_per_volume: Patches times folds times mirrored copies.
        original_model_bytes, model_bytes: Of the weights, each in its type: a whole number of eight bits is a byte.
        patches, patches_skipped: Patches that were run, and patches of the volume that were spared, because there is
            nothing in them, or nothing of what was asked for.
        voxels: Of the input volume.
        peak_memory_bytes: Of the whole process so far.
        device_reason: Why this device and this precision.
        notes: What the user should know of this run: warnings of ``quality`` first, steps down, skipped layers.
        parts: The same per network, in the order in which they ran.
        quality: Whether image and labels are plausible; None where that was not checked.
        computed_shape: (Z, Y, X) of the box of the volume that was computed; None: all of it.
    """

    VERSION: ClassVar[int] = 1

    model: str
    source_sha256: str
    compression: str
    volume: str
    volume_shape: tuple[int, ...]
    volume_spacing_mm: tuple[float, ...]
    original_parameters: int
    parameters: int
    original_macs_per_patch: int
    macs_per_patch: int
    original_macs_per_volume: int
    macs_per_volume: int
    original_model_bytes: int
    model_bytes: int
    patches: int
    voxels: int
    seconds: dict[str, float]
    peak_memory_bytes: int
    backend: str
    device: str
    device_name: str
    device_reason: str
    precision: str
    threads: int
    step_fraction: float
    mirroring: bool
    output_grid: str
    versions: dict[str, str]
    structures: tuple[Structure, ...]
    notes: tuple[str, ...]
    parts: tuple[PartStatistics, ...] = ()
    patches_skipped: int = 0
    quality: QualityReport | None = None
    computed_shape: tuple[int, ...] | None = None

    @property
    def voxels_per_second(self) -> float:
        """Voxels of the input volume per second of the whole run."""
        return self.voxels / max(self.seconds["total"], 1e-9)


def versions() -> dict[str, str]:
    """Versions of Python, the system, and the packages that decide a result."""
    version_of = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            version_of[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version_of[package] = "not installed"
    return version_of


def cost_rows(statistics: RunStatistics) -> list[tuple[str, str, str, str]]:
    """Rows of a table of costs as text: measure, original network, this run, ratio."""
    s = statistics
    return [
        _row("parameters, million", s.original_parameters / 1e6, s.parameters / 1e6),
        _row("model file, MB", s.original_model_bytes / 1e6, s.model_bytes / 1e6),
        _row("GFLOPs per patch", s.original_macs_per_patch * 2e-9, s.macs_per_patch * 2e-9),
        _row("GFLOPs, this volume", s.original_macs_per_volume * 2e-9, s.macs_per_volume * 2e-9),
    ]


def run_rows(statistics: RunStatistics) -> list[tuple[str, str]]:
    """Rows of a table of a run as text: measure and value."""
    s = statistics
    rows = [(f"seconds, {stage}", f"{s.seconds[stage]:.2f}") for stage in STAGE_TITLES if stage in s.seconds]
    return [
        *rows,
        ("seconds, total", f"{s.seconds['total']:.2f}"),
        ("patches", str(s.patches)),
        ("patches skipped", str(s.patches_skipped)),
        ("million voxels per second", f"{s.voxels_per_second / 1e6:.2f}"),
        ("peak memory, GB", f"{s.peak_memory_bytes / 1e9:.2f}"),
        ("device", f"{s.device_name} [{s.device}]"),
        ("precision", s.precision),
        ("threads", str(s.threads)),
        ("model", f"{s.model}, {s.compression}"),
        ("structures found", str(len(s.structures))),
    ]


def part_rows(statistics: RunStatistics) -> list[tuple[str, str, str, str]]:
    """Rows of a table of the networks of a task: measure, original, this run, ratio; none for a single network."""
    rows = []
    for part in _parts_of_several(statistics):
        gflops = part.original_macs_per_volume * 2e-9, part.macs_per_volume * 2e-9
        rows.append(_row(f"{part.name}: GFLOPs", *gflops))
        rows.append((f"{part.name}: seconds", "", f"{sum(part.seconds.values()):.2f}", ""))
        rows.append((f"{part.name}: patches", "", str(part.patches), ""))
    return rows


def part_words(part: PartStatistics) -> str:
    """The statistics of one network of a run in a line of text."""
    ratio = part.original_macs_per_volume / max(part.macs_per_volume, 1)
    total_s, network_s = sum(part.seconds.values()), part.seconds.get("network", 0.0)
    return (
        f"{total_s:.2f} s ({network_s:.2f} s network), {part.patches} patches ({part.patches_skipped} skipped), "
        f"{part.parameters / 1e6:.2f} million parameters, {part.macs_per_volume * 2e-9:.2f} GFLOPs "
        f"({ratio:.2f}x fewer), {part.structures} structures"
    )


def _parts_of_several(statistics: RunStatistics) -> tuple[PartStatistics, ...]:
    """The networks of a run that has more than one; else none."""
    return statistics.parts if len(statistics.parts) > 1 else ()


def as_table(statistics: RunStatistics) -> str:
    """The statistics of a run as text for a terminal.

    Example:
        >>> print(as_table(segment("CT.nii.gz", load_model("demo")).statistics))
    """
    s = statistics
    lines = [
        f"Model        {s.model}, {s.compression}",
        f"Volume       {s.volume}: {_times(s.volume_shape)} voxels of {_times(s.volume_spacing_mm)} mm (Z Y X)",
        f"Device       {s.device_name} [{s.device}], {s.precision}, {s.threads} threads ({s.device_reason})",
        "",
        f"{'':24}{'original':>14}{'this run':>14}{'ratio':>9}",
        *(f"{title:24}{before:>14}{after:>14}{ratio:>9}" for title, before, after, ratio in cost_rows(s)),
        "(1 multiply-accumulate = 2 FLOPs; convolutions only)",
        "",
        "Seconds      " + ", ".join(f"{stage} {s.seconds[stage]:.2f}" for stage in STAGE_TITLES if stage in s.seconds),
        f"Total        {s.seconds['total']:.2f} s, {s.patches} patches ({s.patches_skipped} skipped), "
        f"{s.voxels_per_second / 1e6:.2f} million voxels/s, peak memory {s.peak_memory_bytes / 1e9:.2f} GB",
        f"Structures   {len(s.structures)} found, {sum(each.volume_ml for each in s.structures):.0f} ml in all",
        *(f"Part         {part.name}: {part_words(part)}" for part in _parts_of_several(s)),
    ]
    if s.quality is not None and s.quality.body_parts:
        lines.append(f"Body parts   {', '.join(map(part_in_words, s.quality.body_parts))}")
    warnings = s.quality.warnings if s.quality is not None else ()
    lines += [f"{'Warning' if note in warnings else 'Note':13}{note}" for note in s.notes]
    return "\n".join(map(one_line, lines))


def structure_table(statistics: RunStatistics, most: int | None = None) -> str:
    """Lines of text with volume, label value and name of the structures found, the largest first.

    Args:
        statistics: Of the run.
        most: Number of structures to list; None lists all.
    """
    largest_first = sorted(statistics.structures, key=lambda structure: -structure.volume_ml)
    partial = statistics.quality.partial if statistics.quality is not None else ()
    names = [f"{each.name} (cut by the border)" if each.name in partial else each.name for each in largest_first]
    lines = [f"{each.volume_ml:12.1f} ml  {each.value:4d}  {name}" for each, name in zip(largest_first[:most], names)]
    unlisted = len(largest_first) - len(lines)
    lines += [f"{'':12} and {unlisted} smaller ones"] if unlisted else []
    return "\n".join(map(one_line, lines))


def _row(title: str, before: float, after: float) -> tuple[str, str, str, str]:
    return title, f"{before:.2f}", f"{after:.2f}", f"{before / after:.2f}x" if after else ""


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)
