"""``tuckerseg evaluate``: how well label files agree with reference ones, as text, JSON and CSV.

No network is run, so torch is not imported.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import OutputError
from ...evaluation import cases
from ...evaluation.cases import SHOWN_STRUCTURES, Evaluation, EvaluationSpec
from ...evaluation.dice import StructureMean, StructureScore
from ...printable import one_line
from ...records.serialization import to_json
from ...text_files import as_csv, check_writable, write_text
from ..output import say, show_json, tell


def evaluate(options: argparse.Namespace) -> None:
    """``tuckerseg evaluate PRED REF --out CSV``: prints means and worst structures, or everything as JSON.

    ``--out`` takes every structure of every case; the means go to a second file, named ``..._means.csv``.

    Raises:
        ImageError, SpecError: See :func:`cases.evaluate`.
        OutputError: The tables cannot be written.
    """
    spec = EvaluationSpec(options.tolerance_mm, options.minimum_voxels, options.labels)
    table = Path(options.out) if options.out else None
    if table:
        if table.suffix.lower() != ".csv":
            raise OutputError(f"{table}: the name of a table ends in .csv.")
        check_writable(table)
    evaluation = cases.evaluate(Path(options.prediction), Path(options.reference), spec, _tell_case)
    if table:
        means = table.with_name(f"{table.stem}_means.csv")
        write_text(table, as_csv(evaluation.scores, StructureScore))
        write_text(means, as_csv(evaluation.structures, StructureMean))
    if options.json:
        show_json(to_json(evaluation))
        return
    say(*as_text(evaluation).split("\n"))
    say(f"Written: {table}, {means}" if table else "All structures of all cases: --out FILE.csv")


def as_text(evaluation: Evaluation, most: int = SHOWN_STRUCTURES) -> str:
    """An evaluation as text for a terminal: the means, and the ``most`` structures that agree least."""
    counted = [structure for structure in evaluation.structures if structure.cases]
    extra = [structure for structure in evaluation.structures if structure.cases_without]
    lines = [f"{'structure':32}{'label':>7}{'cases':>7}{'Dice':>8}{'NSD':>8}"]
    lines += [f"{s.name:32}{s.value:7}{s.cases:7}{s.dice:8.3f}{s.nsd:8.3f}" for s in counted[:most]]
    if len(counted) > most:
        lines.append(f"... and {len(counted) - most} more that agree better or as well")
    if counted:
        title = f"mean of {len(counted)} structures"
        lines.append(f"{title:39}{evaluation.cases:7}{evaluation.dice:8.3f}{evaluation.nsd:8.3f}")
    else:
        lines.append("No structure of the references counts.")
    lines.append(
        f"NSD: normalized surface Dice at {evaluation.tolerance_mm:g} mm. Means over the cases whose reference has the "
        f"structure{f' with {evaluation.minimum_voxels} voxels or more' if evaluation.minimum_voxels > 1 else ''}."
    )
    if extra:
        shown = ", ".join(f"{s.name} ({s.cases_without})" for s in extra[:most])
        rest = f" and {len(extra) - most} more" if len(extra) > most else ""
        lines.append(f"Predicted in cases whose reference has none, which counts nowhere: {shown}{rest}")
    if evaluation.unpaired:
        lines.append(f"Left out, for want of a partner: {', '.join(evaluation.unpaired)}")
    lines += [f"Note: {note}" for note in evaluation.notes]
    return "\n".join(map(one_line, lines))


def _tell_case(case: str, number: int, cases: int) -> None:
    if cases > 1:
        tell(f"case {number} of {cases}: {case}")
