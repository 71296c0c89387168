"""The record of a check of an image and its labels, and that record as text. Standard library only.

A finding warns or informs; it never refuses a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..printable import one_line

INFO, WARNING = "info", "warning"
NOT_CHECKED = "not-checked"
TEXT_COLUMN = 13


@dataclass(frozen=True)
class Finding:
    """One thing that a check noticed.

    Attributes:
        code: What it is about, for programs; the same code does not come twice in a report.
        severity: ``warning`` where the result may be wrong, else ``info``.
        words: What was expected, what was found, and what to do.
        numbers: What the words are based on; names say units.
    """

    VERSION: ClassVar[int] = 1

    code: str
    severity: str
    words: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BodyPart:
    """A part of the body that the structures show.

    Attributes:
        name: head, neck, chest, abdomen, pelvis, legs or arms.
        share: Of the structures of this part that the model knows, those that were found whole; 0 to 1.
        structures: How many of its structures were found, whole or cut.
        lowest_mm, highest_mm: Where they begin and end along the patient's axis, superior coordinate (RAS).
    """

    VERSION: ClassVar[int] = 1

    name: str
    share: float
    structures: int
    lowest_mm: float
    highest_mm: float


@dataclass(frozen=True)
class QualityReport:
    """All findings of a check of an image and its labels.

    Attributes:
        findings: Warnings first.
        body_parts: From head to legs; none where nothing of the labels is known.
        partial: Names of the structures that the border of the image cuts; their volumes are not whole.
    """

    VERSION: ClassVar[int] = 1

    findings: tuple[Finding, ...] = ()
    body_parts: tuple[BodyPart, ...] = ()
    partial: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The words of the warnings."""
        return tuple(finding.words for finding in self.findings if finding.severity == WARNING)

    def joined_by(self, findings: Iterable[Finding]) -> QualityReport:
        """This report with further findings, warnings first; where a code is in both, the report's own stays."""
        own_codes = {finding.code for finding in self.findings}
        all_findings = [*self.findings, *(finding for finding in findings if finding.code not in own_codes)]
        return replace(self, findings=tuple(sorted(all_findings, key=lambda finding: finding.severity != WARNING)))


def as_text(report: QualityReport) -> str:
    """A report as lines of text for a terminal."""
    lines = [_line(finding.severity, f"{finding.words} [{finding.code}]") for finding in report.findings]
    if report.body_parts:
        lines.append(_line("body parts", ", ".join(map(part_in_words, report.body_parts))))
    if not report.warnings:
        lines.append(_line("result", "nothing to warn of"))
    return "\n".join(map(one_line, lines))


def part_in_words(part: BodyPart) -> str:
    """A body part in words, as ``chest (75% of its structures whole)``."""
    return f"{part.name} ({part.share:.0%} of its structures whole)"


def _line(title: str, text: str) -> str:
    return f"{title.capitalize():{TEXT_COLUMN}}{text}"
