"""A tour of the panel: what a user does, with pictures; of the real application and of the runtime that plays it."""

from __future__ import annotations

import time
from pathlib import Path

import slicer

PANEL_WIDTH = 400
TIMEOUT_S = 600


class Tour:
    """The opened module; every method is something that a user does.

    Args:
        folder: For pictures.
        container: The module's page, opened.
    """

    def __init__(self, folder: Path, container):
        self._folder, self._container = folder, container
        self._widget = container.self()
        self.panel, self.ui = self._widget.panel, self._widget.ui
        self.pictures: list[str] = []

    def choose_volume(self, volume_node) -> None:
        """Pick the volume in its selector."""
        self.ui.inputVolumeSelector.setCurrentNode(volume_node)

    def choose_rank(self, rank_ratio: float) -> None:
        """Move the slider, and wait until the consequences are shown."""
        self.ui.rankSlider.value = rank_ratio
        consequences = self.panel.consequences
        self._until(lambda: consequences.estimate is not None and consequences.estimate.seconds is not None)
        self.picture_of_panel("panel_before.png")

    def segment(self):
        """Press Segment and wait; gives the segmentation node."""
        self.ui.applyButton.click()
        self._until(lambda: self.ui.progressBar.value > 500 or not self.panel.running.running)
        self.picture_of_panel("panel_during.png")
        self._until(lambda: not self.panel.running.running)
        node = self.panel.context.parameters.outputSegmentation
        if node is None:
            raise RuntimeError(f"The run failed: {self.ui.statusLabel.text}")
        self.picture_of_panel("panel_after.png")
        return node

    def compare(self, ranks: str):
        """Compare ranks; gives the rows."""
        self.ui.resultsCollapsibleButton.collapsed = True
        self.ui.compareCollapsibleButton.collapsed = False
        self.ui.compareRanksEdit.text = ranks
        self.ui.compareButton.click()
        self._until(lambda: not self.panel.comparing.running)
        rows = self.panel.comparing.comparison.rows
        self.picture_of_panel("panel_compare.png")
        return rows

    def picture_of_panel(self, name: str, width: int = PANEL_WIDTH) -> None:
        """The panel as it is now, as high as it must be."""
        for _ in range(20):
            slicer.app.processEvents()
            time.sleep(0.01)
        self._container.resize(width, self._container.layout().heightForWidth(width))
        slicer.app.processEvents()
        self.save_picture(self._container, name)

    def save_picture(self, widget, name: str) -> None:
        """What a widget shows, as a file."""
        widget.grab().save(str(self._folder / name))
        self.pictures.append(name)

    def close(self) -> None:
        """As when Slicer ends."""
        self._container.exit()
        self._widget.cleanup()

    def _until(self, condition) -> None:
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"Nothing happened for {TIMEOUT_S} s: {self.ui.statusLabel.text}")
            slicer.app.processEvents()
            time.sleep(0.005)
