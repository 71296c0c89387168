"""Before a run: what it would have to download first, said beside the button."""

from __future__ import annotations

from slicer.i18n import tr as _

from ...model_zoo.pending import PendingDownload
from ..words import bytes_in_words
from .context import PanelContext
from .labels import show_words
from .section import Section

SMALLEST_TOLD_BYTES = 10**6


class DownloadingSection(Section):
    """Tells of a download; the run itself brings it."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        context.run_ended.connect(context.choice.forget_pending)
        context.models_changed.connect(context.choice.forget_pending)

    def refresh(self) -> None:
        pending = self._context.choice.pending
        words = self._context.choice.pending_problem or (pending_words(pending) if pending is not None else "")
        show_words(self._ui.downloadLabel, words)
        self._ui.downloadLabel.visible = bool(words) and self._context.busy_with != "run"

    def enter(self) -> None:
        self._context.choice.forget_pending()


def pending_words(pending: PendingDownload) -> str:
    """What will be downloaded, how much, from where, and where to."""
    size = bytes_in_words(pending.size_bytes) if pending.size_bytes else _("of unknown size")
    if len(pending.parts) > 1:
        size = _("{size} in {count} files").format(size=size, count=len(pending.parts))
    words = [
        _("Not on this computer yet: Segment downloads {size} from {hosts} into {folder}, once.").format(
            size=size, hosts=", ".join(pending.hosts), folder=pending.folder
        )
    ]
    if pending.here_bytes >= SMALLEST_TOLD_BYTES:
        words.append(_("{size} of it are here already.").format(size=bytes_in_words(pending.here_bytes)))
    if not pending.fits:
        words.append(
            _("The disk needs {needed}, and has {free} free.").format(
                needed=bytes_in_words(pending.disk_bytes), free=bytes_in_words(pending.free_bytes)
            )
        )
    words.append(_("Nothing is uploaded."))
    return " ".join(words)
