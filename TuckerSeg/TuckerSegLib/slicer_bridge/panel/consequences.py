"""Speed and accuracy: the strength of the compression, and what it will cost and save, shown before any run.

Two questions to the worker: one that only counts and is answered at once, and, when the slider has come to rest,
one that runs a single patch where this computer's speed is not known yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ...records.estimate import Estimate, PartEstimate
from ...records.serialization import from_json, to_json
from ..client.delay import Delay
from ..client.worker_process import Event
from ..scene.volumes import affine_of, grid_voxels, shape_of
from ..words import amount, bytes_in_words, plain, seconds_in_words
from .context import PanelContext
from .labels import show_words

PRESETS = {"original": 0.0, "careful": 0.99, "balanced": 0.97, "fastest": 0.93}  # agreement to keep; 0: all of it
COUNT_DELAY_MS = 80
MEASURE_DELAY_MS = 900
GOOD_AGREEMENT, FAIR_AGREEMENT = 0.95, 0.85
SMALLEST_TOLD_BYTES = 10**6


class ConsequencesSection:
    """The slider of the strength with its presets, and the table of consequences beside it."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self._question_asked: dict[str, Any] | None = None
        self.estimate: Estimate | None = None
        self._theme: str | None = None  # color of the window that the presets were styled for
        self._titles = {name: self._button(name).text for name in PRESETS}
        for name, agreement in PRESETS.items():
            self._button(name).connect("clicked()", lambda value=agreement: self._on_preset(value))
        self._ui.rankSlider.connect("valueChanged(double)", self._on_strength)
        self._counting = Delay(COUNT_DELAY_MS, lambda: self._ask(measure=False))
        self._measuring = Delay(MEASURE_DELAY_MS, lambda: self._ask(measure=True))
        context.run_ended.connect(self._forget)

    def refresh(self) -> None:
        parameters = self._context.parameters
        self._follow_theme()
        for name, agreement in PRESETS.items():
            whole = agreement > 0 or parameters.rankRatio >= 1
            self._button(name).checked = whole and abs(parameters.agreement - agreement) < 0.0005
        question = self._question()
        if question != self._question_asked:
            self._question_asked = question
            self._show(None)
            self._counting.stop()
            self._measuring.stop()
            if question is not None:
                self._counting.start()
        if self._context.choice.pending is not None:
            show_words(self._ui.estimateNoteLabel, self._known_words())

    def enter(self) -> None:
        self._question_asked = None

    def close(self) -> None:
        self._counting.stop()
        self._measuring.stop()
        self._question_asked = None

    def _forget(self) -> None:
        """Ask the worker again, because a run has measured something new."""
        self._question_asked = None

    def _button(self, name: str) -> qt.QPushButton:
        return getattr(self._ui, f"{name}PresetButton")

    def _follow_theme(self) -> None:
        """Style the presets anew where the theme has changed: a style sheet keeps the palette that it began with."""
        first = self._button(next(iter(PRESETS)))
        theme = first.parentWidget().palette.color(qt.QPalette.Window).name()
        if theme != self._theme:
            self._theme = theme
            for name in PRESETS:
                button = self._button(name)
                style, button.styleSheet = button.styleSheet, ""
                button.styleSheet = style

    def _on_preset(self, agreement: float) -> None:
        self._context.change(rankRatio=1.0, agreement=agreement)
        self._context.refresh()  # a preset that is chosen already stays pressed

    def _on_strength(self, strength: float) -> None:
        """A strength takes the place of a preset; 1 is what presets themselves leave on the slider."""
        if strength < 1 and self._context.parameters is not None and self._context.parameters.agreement:
            self._context.change(agreement=0.0)

    def _show_presets(self, estimate: Estimate | None, seconds: Sequence[float | None] = ()) -> None:
        """The presets with their seconds, where these are known here: those of an earlier run."""
        known = dict.fromkeys(PRESETS)
        if estimate is not None:
            asked_for = [name for name, agreement in PRESETS.items() if agreement]
            known |= {"original": estimate.original_seconds, **dict(zip(asked_for, seconds))}
        nothing_known = all(each is None for each in known.values())
        for name, title in self._titles.items():
            words = "–" if known[name] is None else seconds_in_words(known[name])
            self._button(name).text = title if nothing_known else f"{title}\n{words}"  # all of one height

    def _question(self) -> dict[str, Any] | None:
        """The request for an estimate, with all that it depends on; None where there can be no estimate."""
        if not self._context.packages_ready or self._context.choice.problem() is not None:
            return None
        if self._context.choice.pending is not None:
            return None
        try:
            settings = self._context.choice.settings()
        except TuckerSegError:
            return None
        volume_node = self._context.choice.volume
        return {
            "job": to_json(settings.job()),
            "shape": list(shape_of(volume_node)),
            "affine": [list(row) for row in affine_of(volume_node)],
            "agreements": [agreement for agreement in PRESETS.values() if agreement],
        }

    def _known_words(self) -> str:
        """Facts about a task whose networks are not on this computer, from the catalog."""
        known, wanted = self._context.choice.task(), self._context.choice.structures()
        count, words = len(known.parts_with(wanted)), []
        if len(known.parts) > 1:
            words.append(_("{count} of {all} networks run.").format(count=count, all=len(known.parts)))
        if self._context.choice.problem() is None and known.spacing_mm:
            voxels = grid_voxels(self._context.choice.volume, known.spacing_mm)
            words.append(_("The volume has {voxels} voxels at the model's spacing.").format(voxels=amount(voxels)))
        words.append(_("Time, memory and FLOPs are told once it is downloaded."))
        return " ".join(words)

    def _ask(self, measure: bool) -> None:
        question = self._question_asked
        if question is None or (measure and (self._context.session.active or self._context.busy_with)):
            return
        self._context.ask(
            "estimate",
            lambda event: self._on_estimate(question, event, measure),
            lambda event: self._on_error(question, event),
            measure=measure,
            **question,
        )

    def _on_estimate(self, question: dict[str, Any], event: Event, measured: bool) -> None:
        if question != self._question_asked:
            return
        self.estimate = from_json(Estimate, event["estimate"])
        self._show(self.estimate)
        self._show_presets(self.estimate, event.get("agreement_seconds") or ())
        self._context.refresh()  # what it says of memory stands beside Segment
        if not measured and self.estimate.seconds is None:
            self._measuring.start()

    def _on_error(self, question: dict[str, Any], event: Event) -> None:
        if question == self._question_asked:
            self._show(None)
            show_words(self._ui.estimateNoteLabel, event["message"], "bad")

    def _show(self, estimate: Estimate | None) -> None:
        ui, e = self._ui, estimate
        if e is None:
            self.estimate = None
            self._show_presets(None)
            for name in ("parameters", "flops", "seconds"):
                self._row(name, "", "", "")
            for label in (ui.memoryLabel, ui.agreementLabel, ui.patchesLabel, ui.estimateNoteLabel):
                show_words(label, "")
            self._remark_memory(None)
            return
        self._row("parameters", *_pair(e.original_parameters, e.parameters, amount))
        self._row("flops", *_pair(e.original_macs_per_volume * 2, e.macs_per_volume * 2, amount))
        if e.seconds is None:
            self._row("seconds", "", _("measuring…"), "")
        elif e.original_seconds is None:
            self._row("seconds", "", seconds_in_words(e.seconds), "")
        else:
            self._row("seconds", *_pair(e.original_seconds, e.seconds, seconds_in_words))
        show_words(ui.memoryLabel, bytes_in_words(e.peak_memory_bytes), "" if e.fits else "bad")
        known = e.free_memory_bytes is not None
        free = _("{free} are free").format(free=bytes_in_words(e.free_memory_bytes)) if known else ""
        ui.memoryLabel.toolTip = free
        self._remark_memory(e)
        self._show_agreement(e)
        self._show_patches(e)
        source = _("Agreement: {source}.").format(source=e.agreement_source) if e.agreement is not None else ""
        show_words(ui.estimateNoteLabel, " ".join(filter(None, (source, _cache_words(e), *e.notes))))

    def _remark_memory(self, estimate: Estimate | None) -> None:
        """Say beside Segment that a run may not fit."""
        words = ""
        if estimate is not None and not estimate.fits:
            words = _("The run needs about {needed} of memory, and {free} are free.").format(
                needed=bytes_in_words(estimate.peak_memory_bytes), free=bytes_in_words(estimate.free_memory_bytes)
            )
            words += " " + _("Close other programs, compress more, or crop the volume.")
        self._context.choice.remarks["memory"] = words

    def _show_agreement(self, estimate: Estimate) -> None:
        label = self._ui.agreementLabel
        words = _("Mean Dice against the original network: 1 is the same result. {source}")
        label.toolTip = plain(words.format(source=estimate.agreement_source))
        if estimate.agreement is None:
            show_words(label, _("not measured"))
            return
        show_words(label, f"{estimate.agreement:.3f}", _hue_of(estimate.agreement))

    def _show_patches(self, estimate: Estimate) -> None:
        label, parts = self._ui.patchesLabel, estimate.parts
        several = len(parts) > 1
        patches = str(estimate.patches) if estimate.patches_skipped is not None else f"≤ {estimate.patches}"
        words = _("{patches} in {count} networks").format(patches=patches, count=len(parts))
        label.text = words if several else patches
        lines = [_part_words(part) for part in parts] if several else []
        if estimate.patches_skipped is None:
            lines.append(_("Fewer where patches of air, or beyond the structures' box, can be spared."))
        label.toolTip = plain("\n".join(lines))

    def _row(self, name: str, original: str, now: str, ratio: str) -> None:
        for suffix, text in (("OriginalLabel", original), ("Label", now), ("RatioLabel", ratio)):
            getattr(self._ui, name + suffix).text = text


def _hue_of(agreement: float) -> str:
    """The color that an agreement is shown in."""
    if agreement >= GOOD_AGREEMENT:
        return "good"
    return "fair" if agreement >= FAIR_AGREEMENT else "bad"


def _cache_words(estimate: Estimate) -> str:
    if estimate.cache_bytes < SMALLEST_TOLD_BYTES:
        return ""
    return _("The run adds about {size} to the cache.").format(size=bytes_in_words(estimate.cache_bytes))


def _part_words(part: PartEstimate) -> str:
    """One network before the run."""
    words = _("{name}: {patches} patches, {flops}FLOPs").format(
        name=part.name, patches=part.patches, flops=amount(part.macs_per_volume * 2)
    )
    return words if part.seconds is None else f"{words}, {seconds_in_words(part.seconds)}"


def _pair(before: float, after: float, words: Any) -> tuple[str, str, str]:
    return words(before), words(after), f"{before / after:.2f}×" if after else ""
