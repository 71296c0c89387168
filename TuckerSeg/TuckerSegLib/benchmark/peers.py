"""Who takes part: TuckerSeg, nnU-Net's predictor, TotalSegmentator; each run as its user would, in its own process."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import TuckerSegError
from ..text_files import read_json
from . import totalsegmentator
from .measure import Measurement, measure
from .standin import FAST, standin_folders, write_standin
from .volumes import load_volume

LABEL_COUNT = 118  # background and 117 structures
STEP_FRACTION = 0.8  # TotalSegmentator 2.18's own for these tasks; given to all, so that all do the same work
OPTIONS = {"total": [], FAST: ["--fast"]}  # of TotalSegmentator, for a task
TOTALSEGMENTATOR = "totalsegmentator"
NNUNET = "nnunet"
PREDICTED = re.compile(r"Predicted in ([\d.]+)s")


@dataclass(frozen=True)
class BenchmarkCase:
    """One volume and where its results go. ``home`` holds the models, the caches and TotalSegmentator's settings."""

    volume: Path
    folder: Path
    home: Path
    task: str = FAST

    @property
    def models(self) -> tuple[Path, ...]:
        """Folders of the task's networks."""
        return standin_folders(totalsegmentator.results_folder(self.home), self.task)

    def labels(self, contestant: str) -> Path:
        """Where a contestant's labels go."""
        return self.folder / f"{contestant}.nii.gz"


@dataclass(frozen=True)
class Outcome:
    """One run: seconds of the whole process and of its prediction alone; peak memory of all its processes together and
    of the largest one; seconds on all processors together.

    ``predict_s`` is from the volume in memory to labels in memory. TotalSegmentator's and nnU-Net's own figures hold
    what they hold: TotalSegmentator's leaves its resampling out.
    """

    wall_s: float
    predict_s: float
    peak_memory_bytes: int
    largest_process_bytes: int
    processor_s: float = 0.0


@dataclass(frozen=True)
class Contestant:
    """Somebody who segments a case. ``once`` is measured in the first round only."""

    name: str
    title: str
    run: Callable[[BenchmarkCase], Outcome]
    once: bool = False


def prepare_home(home: Path, task: str = FAST) -> None:
    """Write the stand-in models of a task and TotalSegmentator's settings.

    Raises:
        OutputError: The folder cannot be written.
    """
    write_standin(totalsegmentator.results_folder(home), task)
    totalsegmentator.write_settings(home)


def contestants(rank_ratio: float, totalsegmentator_python: Path | None, task: str = FAST) -> list[Contestant]:
    """Everybody who can take part, in the order of a round: first uses come first and fill the caches.

    Of a task of several networks there is no warm run, since only one of them is held, and no nnU-Net's own predictor,
    which runs one: TotalSegmentator runs it on each.
    """
    ours = [(1.0, "original", "original network"), (rank_ratio, "tucker", f"rank {rank_ratio:.2f}")]
    first = [
        Contestant(f"{name}_first_use", f"TuckerSeg, {words}, first use", _ours_cold(ratio, f"{name}_first_use"), True)
        for ratio, name, words in ours
    ]
    cold = [
        Contestant(f"{name}_cold", f"TuckerSeg, {words}, cold", _ours_cold(ratio, f"{name}_cold"))
        for ratio, name, words in ours
    ]
    warm = [
        Contestant(f"{name}_warm", f"TuckerSeg, {words}, warm", _ours_warm(ratio, f"{name}_warm"))
        for ratio, name, words in ours
    ]
    peers = []
    if totalsegmentator_python is not None:
        run = _totalsegmentator(totalsegmentator_python)
        peers.append(Contestant(TOTALSEGMENTATOR, " ".join(["TotalSegmentator", *OPTIONS[task]]), run))
    if task != FAST:
        return [*first, *peers, *cold]
    return [*first, *peers, Contestant(NNUNET, "nnUNetPredictor", _nnunet), *cold, *warm]


def _ours_cold(rank_ratio: float, name: str) -> Callable[[BenchmarkCase], Outcome]:
    def run(case: BenchmarkCase) -> Outcome:
        report = case.folder / f"{name}.json"
        command = [
            *(sys.executable, "-m", "TuckerSegLib", "segment", case.volume, case.labels(name)),
            *("--model", case.task, "--rank", f"{rank_ratio:g}", "--step", str(STEP_FRACTION)),
            *("--device", "auto", "--output-grid", "nearest", "--stats", report),
        ]
        measured = measure(command, _our_environment(case.home))
        seconds = _read_report(report)["seconds"]
        return _outcome(measured, sum(seconds[stage] for stage in ("preprocess", "network", "finish")))

    return run


def _ours_warm(rank_ratio: float, name: str) -> Callable[[BenchmarkCase], Outcome]:
    def run(case: BenchmarkCase) -> Outcome:
        options = ["--rank", f"{rank_ratio:g}"]
        return _run_child("TuckerSegLib.benchmark.warm_child", case.models[0], case, name, options)

    return run


def _nnunet(case: BenchmarkCase) -> Outcome:
    voxels = math.prod(load_volume(case.volume).shape)
    logits_bytes = voxels * LABEL_COUNT * 2  # float16 on the volume's own grid
    memory_bytes = total_memory_bytes()
    if memory_bytes and logits_bytes > 0.5 * memory_bytes:
        raise TuckerSegError(
            f"left out: its logits on this grid take {logits_bytes / 1e9:.0f} GB, "
            f"and the machine has {memory_bytes / 1e9:.0f} GB"
        )
    return _run_child("TuckerSegLib.benchmark.nnunet_child", case.models[0], case, NNUNET, [])


def _run_child(module: str, model: Path | str, case: BenchmarkCase, name: str, options: list[str]) -> Outcome:
    """Run a module of this package that takes MODEL IN OUT REPORT and reports the seconds of ``predict``."""
    report = case.folder / f"{name}.json"
    command = [
        *(sys.executable, "-m", module, model, case.volume, case.labels(name), report),
        *("--step", str(STEP_FRACTION), *options),
    ]
    measured = measure(command, _our_environment(case.home))
    return _outcome(measured, _read_report(report)["predict"])


def _totalsegmentator(python: Path) -> Callable[[BenchmarkCase], Outcome]:
    start = totalsegmentator.start_command(python)

    def run(case: BenchmarkCase) -> Outcome:
        files = ["-i", case.volume, "-o", case.labels(TOTALSEGMENTATOR)]
        options = ["--ml", "-d", "cpu", *OPTIONS[case.task]]
        measured = measure([*start, *files, *options], totalsegmentator.environment(case.home))
        match = PREDICTED.search(measured.output)
        if not match:
            raise TuckerSegError("TotalSegmentator did not say how long it predicted ('Predicted in ...s').")
        return _outcome(measured, float(match.group(1)))

    return run


def _our_environment(home: Path) -> Mapping[str, str]:
    """The caller's environment, with this library to be found, a cache of its own, and no models but the stand-ins."""
    library = str(Path(__file__).resolve().parents[2])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    folders = {
        "PYTHONPATH": os.pathsep.join(paths),
        "TUCKERSEG_CACHE_DIR": str(home / "cache"),
        "TUCKERSEG_MODELS_DIR": str(totalsegmentator.results_folder(home)),
    }
    return {**os.environ, **folders}


def _outcome(measured: Measurement, predict_s: float) -> Outcome:
    memory = (measured.peak_memory_bytes, measured.largest_process_bytes)
    return Outcome(measured.wall_s, predict_s, *memory, measured.processor_s)


def _read_report(path: Path) -> dict:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise TuckerSegError(f"{path}: the run ended well but left no readable report ({error}).") from error


def total_memory_bytes() -> int:
    """Memory of this machine; 0 where it cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
