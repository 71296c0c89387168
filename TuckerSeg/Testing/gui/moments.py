"""What a run may leave behind, looked at before and after it; and a worker that does what a test says at a moment."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PROGRAM = Path(__file__).with_name("played_worker.py")
WORKSPACE = "workspace"  # the worker's folder, and the lock beside it


class Play:
    """A worker in a process of its own, in the place of Slicer's Python.

    Args:
        folder: For its files.
        statistics: Of its result, as JSON has them.
        labels: Of its result, (Z, Y, X).
    """

    def __init__(self, folder: Path, statistics, labels: np.ndarray):
        self._script, self._notes = folder / "script", folder / "notes"
        path = folder / "played.npy"
        np.save(path, labels)
        self._fields = {"statistics": statistics, "labels": str(path), "lower": [0, 0, 0], "upper": labels.shape}
        self.python = folder / "PythonSlicer"
        words = f'exec "{sys.executable}" -IS "{PROGRAM}" "{self._script}" "$@"'
        self.python.write_text(f"#!/bin/sh\n{words}\n", encoding="utf-8")
        self.python.chmod(0o755)
        self.script()

    def script(self, moment=None, what="", lines=(), **fields):
        """Say what happens next time: at a moment, ``what`` is done.

        Args:
            moment: A stage; ``start``, ``queued``, ``write`` (half of the labels), ``lost`` (labels),
                ``rows`` of a comparison; None: a run ends well.
            what: ``die``, ``fail`` (ends with words), ``hang`` (hears nothing), ``wait`` (for a cancel),
                ``pause`` (until the next script), ``say`` (the lines, and go on), ``end`` (the same, and the run is
                over).
            lines: Events.
        """
        self._notes.write_text("", encoding="utf-8")
        document = {**self._fields, "images": [], **fields, "moment": moment, "what": what, "lines": list(lines)}
        beside = self._script.with_suffix(".new")
        beside.write_text(json.dumps(document), encoding="utf-8")
        beside.replace(self._script)

    @property
    def notes(self) -> list[str]:
        """What happened in the worker since the last script."""
        return self._notes.read_text(encoding="utf-8").split()


@dataclass
class Belongings:
    """All that a run could change and should not: the scene, files, processes, and what the panel offers."""

    nodes: dict[str, str]
    scene: list[str]
    voxels: dict[str, bytes]
    files: set[str]
    processes: set[int]
    widgets: dict[str, tuple]


def belongings(panel, *folders) -> Belongings:
    """Look at all of them; the files are those of temporary folders, caches, models and ``folders``."""
    import slicer

    scene = slicer.mrmlScene
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    volumes = [node for node in nodes if node.IsA("vtkMRMLScalarVolumeNode") and node.GetImageData() is not None]
    places = [slicer.app.temporaryPath, tempfile.gettempdir(), *folders]
    places += [os.environ["TUCKERSEG_CACHE_DIR"], os.environ["TUCKERSEG_MODELS_DIR"]]
    return Belongings(
        nodes={node.GetID(): node.GetName() for node in nodes},
        scene=_scene_text(scene),
        voxels={node.GetID(): slicer.util.arrayFromVolume(node).tobytes() for node in volumes},
        files={_place(file, panel) for place in places for file in Path(place).rglob("*") if file.suffix != ".ini"},
        processes=set(children()),
        widgets=_widgets(panel.ui),
    )


def children() -> list[int]:
    """Ids of the processes that this one has started and that are there, ended ones that nobody asked after, too."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(number) for task in tasks for number in task.read_text(encoding="ascii").split()]


def _place(file: Path, panel) -> str:
    """Path of a file; the worker's folder has another name for each worker."""
    return str(file).replace(str(panel.session.worker.folder.parent), WORKSPACE)


def _scene_text(scene) -> list[str]:
    """All that a saved scene would hold, but for contents of files."""
    scene.SetSaveToXMLString(1)
    scene.Commit()
    text = scene.GetSceneXMLString()
    scene.SetSaveToXMLString(0)
    return sorted(re.split(r" (?=[\w/]+= ?\")|\n", text))


def _widgets(ui) -> dict[str, tuple]:
    """Words and states of everything that can be pressed, and whether bars and frames are shown."""
    import qt

    shown = {}
    for name, widget in vars(ui).items():
        if isinstance(widget, qt.QAbstractButton):
            shown[name] = (widget.text, widget.enabled, widget.checked, widget.isHidden())
        elif isinstance(widget, (qt.QProgressBar, qt.QComboBox)) or name.endswith("Frame"):
            shown[name] = (widget.enabled, widget.isHidden())
    return shown


def check_unchanged(before: Belongings, panel, until, *folders, buttons=True) -> None:
    """Make sure that all is as it was, but for what may stay: the warm worker, and the volume that it was handed.

    Args:
        folders: As of :func:`belongings`.
        buttons: Whether the panel is, too; not where ``before`` is of a moment within a run.
    """
    import slicer

    session = panel.session
    until(lambda: set(children()) - before.processes <= {_worker_pid(session)}, 30, lambda: str(children()))
    now = belongings(panel, *folders)
    assert now.nodes == before.nodes
    assert (set(now.scene) - set(before.scene), set(before.scene) - set(now.scene)) == (set(), set())
    assert now.voxels == before.voxels
    handed_over = [file for file in now.files if re.fullmatch(rf"{WORKSPACE}/files/volume-\w+\.npy", file)]
    assert now.files - before.files - set(handed_over) == set()
    assert {file for file in before.files - now.files if not file.startswith(f"{WORKSPACE}/files/")} == set()
    assert len(handed_over) <= 2
    changed = {name: (before.widgets[name], now.widgets[name]) for name in before.widgets}
    assert not buttons or {name: pair for name, pair in changed.items() if pair[0] != pair[1]} == {}
    assert session.active is None and panel.context.busy_with is None
    assert slicer.util.dialogs == []


def _worker_pid(session) -> int | None:
    return session.worker._process.processId() if session.warm else None


def belongings_of_new_session(panel):
    panel.session.close()
    assert panel.session.worker.folder.exists()
    return belongings(panel)


def begin_handing_over(panel, until):
    panel.ui.applyButton.click()
    until(lambda: panel.session.active._transfer._writer._written > 200, 30)


def run(panel, until):
    panel.ui.applyButton.click()
    finish(panel, until)


def finish(panel, until):
    until(lambda: not panel.running.running, 60, lambda: panel.ui.statusLabel.text)


def check_next_run(panel, play, until, segmentations=1):
    """That the next run works and leaves so many segmentations, and nothing stays when the module is closed."""
    import slicer

    play.script()
    run(panel, until)
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segments = [node.GetSegmentation().GetSegmentIDs() for node in nodes]
    assert segments == [("label-001",)] * segmentations, panel.ui.statusLabel.text
    folder = panel.session.worker.folder
    panel.session.close()
    assert not folder.parent.exists()
