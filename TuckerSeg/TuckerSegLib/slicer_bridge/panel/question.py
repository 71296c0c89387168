"""A question beside Segment, where a run would replace what cannot be made again. It blocks nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .labels import show_words


class Question:
    """Keep both, replace, or cancel; asked one at a time, and gone when it is answered or withdrawn.

    Args:
        ui: Widgets by their object names.
    """

    def __init__(self, ui: Any):
        self._ui = ui
        self._on_answer: Callable[[bool], None] | None = None
        ui.keepBothButton.connect("clicked(bool)", lambda *_: self._answer(False))
        ui.replaceButton.connect("clicked(bool)", lambda *_: self._answer(True))
        ui.questionCancelButton.connect("clicked(bool)", lambda *_: self.withdraw())
        self.withdraw()

    @property
    def asked(self) -> bool:
        """Whether an answer is awaited."""
        return self._on_answer is not None

    def ask(self, loss: str, on_answer: Callable[[bool], None]) -> None:
        """Ask; a question that is open already is replaced.

        Args:
            loss: What would be lost, in a sentence.
            on_answer: Receives whether to replace; not called where the user cancels.
        """
        self._on_answer = on_answer
        words = _("{loss} Keep it and make a new segmentation, or replace what it holds?").format(loss=loss)
        show_words(self._ui.questionLabel, words)
        self._ui.questionFrame.visible = True

    def withdraw(self) -> None:
        """Ask no longer."""
        self._on_answer = None
        self._ui.questionFrame.visible = False

    def _answer(self, replaces: bool) -> None:
        on_answer = self._on_answer
        self.withdraw()
        if on_answer is not None:
            on_answer(replaces)
