"""Before a run: what it would have to download first, said beside the button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ...model_zoo.pending import PendingDownload, pending_download
from ...printable import printable
from ..words import bytes_in_words

if TYPE_CHECKING:
    from .panel import Panel

SMALLEST_TOLD_BYTES = 10**6


class DownloadingSection:
    """Tells of a download; the run itself brings it."""

    def __init__(self, panel: Panel):
        self._panel, self._ui = panel, panel.ui
        self._asked: tuple | None = None
        self._pending: PendingDownload | None = None
        self._problem = ""

    @property
    def pending(self) -> PendingDownload | None:
        """What the present choice would download; None where everything is here."""
        self._look()
        return self._pending

    def refresh(self) -> None:
        pending = self.pending
        words = self._problem or (pending_words(pending) if pending is not None else "")
        self._ui.downloadLabel.text = printable(words)
        self._ui.downloadLabel.visible = bool(words) and not self._panel.running.running

    def enter(self) -> None:
        self.look_again()

    def close(self) -> None:
        """Nothing of it is temporary."""

    def look_again(self) -> None:
        """Something may have been downloaded."""
        self._asked = None

    def _look(self) -> None:
        known, wanted = self._panel.models.task(), self._panel.inputs.structures()
        crop = self._panel.inputs.crop() is not None
        asked = (known and known.name, wanted, crop)
        if asked == self._asked:
            return
        self._asked, self._pending, self._problem = asked, None, ""
        if known is None or known.license_key_required:
            return
        try:
            self._pending = pending_download(known, wanted, crop)
        except TuckerSegError as error:
            self._problem = str(error)


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
