"""The benchmark: the same volumes and weights through everybody, in turns, on one machine, in one run.

The rounds are interleaved, so that a machine that becomes slower or busier does so for all of them.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError, SpecError, TuckerSegError
from ..records.statistics import versions
from ..text_files import parse_json, write_text
from .measure import measure
from .peers import (
    NNUNET,
    STEP_FRACTION,
    TOTALSEGMENTATOR,
    BenchmarkCase,
    Contestant,
    Outcome,
    contestants,
    prepare_home,
)
from .peers import total_memory_bytes as memory_of_machine
from .standin import FAST, SHAPES
from .table import Row, VolumeResult, as_json, as_text
from .volumes import BUILT_IN, agreement, load_volume, resample_volume

PYTHON_VARIABLE = "TUCKERSEG_TOTALSEGMENTATOR_PYTHON"
THEIR_PACKAGES = ("TotalSegmentator", "nnunetv2", "torch")


@dataclass(frozen=True)
class BenchmarkSpec:
    """What is measured beside the volume as it is.

    Attributes:
        task: ``total_fast``, one network at 3 mm, or ``total``, five at 1.5 mm.
        rank_ratio: Of the compressed networks.
        spacing_mm: Voxels (Z, Y, X) of the second, larger volume; None leaves it out.
        repeats: How often the volume is stacked along its z axis in the larger one, mirrored in turn. 2 makes of the
            3 mm example CT (336 mm tall) the 458 x 379 x 672 voxels of a tall CT in thin slices.
    """

    task: str = FAST
    rank_ratio: float = 1 / 3
    spacing_mm: tuple[float, float, float] | None = (1.0, 0.8, 0.8)
    repeats: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.rank_ratio < 1:
            raise SpecError(f"The rank ratio of the benchmark should lie between 0 and 1; found {self.rank_ratio}.")
        if self.task not in SHAPES:
            raise SpecError(f"The benchmark knows the tasks {', '.join(SHAPES)}; found '{self.task}'.")


def run_benchmark(
    volume: str | Path | None,
    out: str | Path,
    totalsegmentator_python: str | Path | None = None,
    runs: int = 3,
    spec: BenchmarkSpec | None = None,
) -> dict[str, Any]:
    """Measure, print the table and, as the last line of stdout, the JSON; all files stay in ``out``.

    Args:
        volume: CT as NIfTI; None takes the built-in synthetic torso.
        out: Folder for volumes, models, caches, labels, ``benchmark.json``. A cache in it is emptied first.
        totalsegmentator_python: Python of the environment that has TotalSegmentator. None: the environment variable
            TUCKERSEG_TOTALSEGMENTATOR_PYTHON, else this environment if it has it, else it is left out.
        runs: Rounds.

    Returns:
        What the JSON line says.

    Raises:
        SpecError: A setting is out of range.
        ImageError: The volume is not a readable 3D NIfTI file.
        OutputError: ``out`` cannot be written.
    """

    spec = spec or BenchmarkSpec()
    if runs < 1:
        raise SpecError(f"The number of rounds should be at least 1; found {runs}.")
    out, volume = Path(out).resolve(), Path(volume or BUILT_IN).resolve()
    load_volume(volume)
    python = find_totalsegmentator(totalsegmentator_python)
    _say(f"TotalSegmentator: {python or 'not found, so it is left out'}")
    everybody = contestants(spec.rank_ratio, python, spec.task)
    cases = _prepare(volume, out, spec)
    later = [contestant for contestant in everybody if not contestant.once]  # the first use is over by then
    results = [_measure_case(case, later if case is not cases[0] else everybody, runs) for case in cases]
    settings = {"task": spec.task, "rounds": runs, "rank_ratio": spec.rank_ratio, "step_fraction": STEP_FRACTION}
    facts = {**_facts(python), **settings}
    line = as_json(results, facts)
    write_text(out / "benchmark.json", line + "\n")
    print(f"\n{_heading(facts)}\n\n{as_text(results)}\n\n{NOTES}\n\n{line}", flush=True)
    return parse_json(line)


NOTES = """\
Medians over the rounds (smallest-largest). process: from start to exit of the program; prediction: volume in memory
to labels in memory, as each program counts it (TotalSegmentator's leaves its resampling out; warm: the second one in
a process). memory: peak of the process with all that it starts; largest: of its largest single process. labels: share
of voxels with the same label as TotalSegmentator and as nnU-Net. The weights are random and of low rank, so that
compressing them changes no labels: a share far below 100 % would mean a wrong result, and says nothing about what
compression costs a trained network. Random networks have many near ties, about one voxel in a hundred, which every
rounding settles differently (nnU-Net rounds its logits to float16)."""


def find_totalsegmentator(named: str | Path | None) -> Path | None:
    """The Python that has TotalSegmentator, or None.

    Raises:
        SpecError: The Python that was named does not exist.
    """
    named = named or os.environ.get(PYTHON_VARIABLE)
    if named:
        # Not resolved: in a virtual environment the link's own folder is what makes it that environment.
        path = Path(shutil.which(str(named)) or named).absolute()
        if not os.path.exists(path):
            raise SpecError(f"The Python for TotalSegmentator does not exist: {named}. Name the file itself.")
        return path
    return Path(sys.executable) if importlib.util.find_spec("totalsegmentator") else None


def _prepare(volume: Path, out: Path, spec: BenchmarkSpec) -> list[BenchmarkCase]:
    """Folders, stand-in model, the larger volume; one case per volume."""
    home = out / "home"
    try:
        shutil.rmtree(home / "cache", ignore_errors=True)  # else "first use" would not be the first
        home.mkdir(parents=True, exist_ok=True)
        _say("Writing the stand-in models")
        prepare_home(home, spec.task)
        cases = [BenchmarkCase(volume, out / "volume", home, spec.task)]
        if spec.spacing_mm is not None:
            larger = out / "larger.nii.gz"
            shape = resample_volume(volume, larger, spec.spacing_mm, spec.repeats)
            _say(f"Wrote {larger} with {' x '.join(map(str, shape))} voxels (Z Y X)")
            cases.append(BenchmarkCase(larger, out / "larger", home, spec.task))
        for case in cases:
            case.folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error}). Name another folder with --out.") from error
    return cases


def _measure_case(case: BenchmarkCase, everybody: Sequence[Contestant], runs: int) -> VolumeResult:
    outcomes: dict[str, list[Outcome]] = {contestant.name: [] for contestant in everybody}
    failures: dict[str, str] = {}
    for round_number in range(1, runs + 1):
        for contestant in everybody:
            if contestant.name in failures or (contestant.once and round_number > 1):
                continue
            try:
                outcome = contestant.run(case)
            except TuckerSegError as error:
                failures[contestant.name] = str(error)
                _say(f"{case.volume.name}, round {round_number}, {contestant.title}: {error}")
                continue
            outcomes[contestant.name].append(outcome)
            _say(
                f"{case.volume.name}, round {round_number}, {contestant.title}: {outcome.wall_s:.2f} s, "
                f"prediction {outcome.predict_s:.2f} s, on all processors {outcome.processor_s:.2f} s, "
                f"{outcome.peak_memory_bytes / 1e9:.2f} GB"
            )
    image = load_volume(case.volume)
    rows = tuple(_row(case, contestant, outcomes, failures) for contestant in everybody)
    spacing = tuple(round(float(mm), 4) for mm in image.header.get_zooms()[::-1])
    return VolumeResult(str(case.volume.name), tuple(image.shape[::-1]), spacing, rows)


def _row(
    case: BenchmarkCase, contestant: Contestant, outcomes: dict[str, list[Outcome]], failures: dict[str, str]
) -> Row:
    """A contestant's runs so far (a later failure voids them) with its agreement with the peers that have labels."""
    name, failure = contestant.name, failures.get(contestant.name)
    runs = () if failure else tuple(outcomes[name])
    peers = [peer for peer in (TOTALSEGMENTATOR, NNUNET) if outcomes.get(peer) and peer not in failures]
    equal = {peer: agreement(case.labels(name), case.labels(peer)) for peer in peers} if runs else {}
    return Row(name, contestant.title, runs, failure, equal)


def _facts(python: Path | None) -> dict[str, Any]:
    """The machine and the versions of everybody's packages."""
    own_versions = versions()
    return {
        "machine": {
            "cpu": _cpu_name(),
            "threads": os.cpu_count(),
            "memory_bytes": memory_of_machine(),
            "system": platform.platform(),
        },
        "versions": own_versions,
        "totalsegmentator_versions": _their_versions(python) if python else None,
    }


def _their_versions(python: Path) -> dict[str, str]:
    program = "import importlib.metadata as m, sys; [print(name, m.version(name)) for name in sys.argv[1:]]"
    try:
        printed = measure([python, "-c", program, *THEIR_PACKAGES], timeout_s=60).output
    except TuckerSegError as error:
        return {"error": str(error).splitlines()[-1].strip()}
    return dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)


def _cpu_name() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1) if match else platform.processor() or "unknown"


def _heading(facts: dict[str, Any]) -> str:
    machine, own_versions = facts["machine"], facts["versions"]
    theirs = facts["totalsegmentator_versions"] or {}
    return (
        f"{machine['cpu']}, {machine['threads']} threads, {machine['memory_bytes'] / 1e9:.0f} GB, {machine['system']}\n"
        f"Ours: {', '.join(f'{name} {version}' for name, version in own_versions.items())}\n"
        f"TotalSegmentator's: {', '.join(f'{name} {version}' for name, version in theirs.items()) or 'not installed'}"
    )


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
