"""Dialogs that never wait: what would have been shown is recorded, and a test says what the user answers."""

import slicer
import slicer.util


class Dialogs(list):
    """(kind, text) of every dialog; ``answer`` is what the user presses, True for OK or Yes."""

    answer = True

    def clear(self):
        super().clear()
        self.answer = True


def install():
    """Put the recorders in place of Slicer's dialogs, as ``slicer.util.dialogs``."""
    shown = Dialogs()

    def asking(kind):
        def ask(text, *arguments, **keywords):
            shown.append((kind, text))
            return shown.answer

        return ask

    slicer.util.dialogs = shown
    for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay"):
        setattr(slicer.util, name, asking(name))
    for name in ("errorDisplay", "warningDisplay", "infoDisplay", "messageBox", "delayDisplay"):
        setattr(slicer.util, name, asking(name))
