"""Dependencies: a banner when packages are missing, and what is installed, under Advanced."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ...errors import TuckerSegError
from ..installation.dependencies import DependencyCheck, DependencyReport, is_ready, missing_packages, report_text
from ..installation.install import InstallationResult, install
from ..installation.plan import plan_installation
from ..words import plain
from .context import PanelContext
from .labels import show_words
from .python_choice import PythonChoice


class DependenciesSection:
    """Finds out whether the worker can run, and makes it possible."""

    def __init__(self, context: PanelContext):
        self._context, self._ui = context, context.ui
        self._missing: list[str] = []
        self._report: DependencyReport | None = None
        self._check: DependencyCheck | None = None
        self._looking = self._installing = False  # an installation looks first, and then carries out what is missing
        ui = self._ui
        self._python = PythonChoice(context, self._on_python, self._show)
        ui.dependencyInstallButton.connect("clicked(bool)", self._on_install)
        ui.dependenciesInstallButton.connect("clicked(bool)", self._on_install)
        ui.wheelFolderButton.connect("clicked(bool)", self._on_wheel_folder)
        ui.dependenciesCheckButton.connect("clicked(bool)", self.check)
        context.session.use_python(self._python.path)
        self._look()

    def refresh(self) -> None:
        self._ui.dependencyFrame.visible = not self._context.packages_ready
        if not self._context.packages_ready:
            show_words(self._ui.dependencyLabel, self._words())

    def enter(self) -> None:
        if self._report is None:
            self._look()

    def close(self) -> None:
        self._stop_check()

    def check(self) -> None:
        """Import every package in a process of its own, and show what came of it."""
        self._stop_check()
        self._show(_("Checking…"))
        self._show_buttons(checking=True)
        self._check = DependencyCheck(self._on_report, self._python.path)
        self._check.start()

    def _stop_check(self) -> None:
        """What a check that runs would tell is not wanted any more."""
        if self._check is not None and self._check.running:
            self._check.stop()
            self._show(_("The check was stopped."))
        if self._looking:
            self._looking = False
            self._context.status.say(_("Nothing was installed."))
        self._show_buttons(checking=False)

    def _show(self, words: str) -> None:
        self._ui.dependenciesText.plainText = words

    def _look(self) -> None:
        """A quick look; another Python is taken to be complete until it is checked."""
        self._missing = [] if self._python.path else missing_packages()
        self._take(None)

    def _take(self, report: DependencyReport | None) -> None:
        """What is known of the packages: what importing them told, else what the quick look did."""
        self._report = report
        self._context.packages_ready = not self._missing if report is None else is_ready(report)

    def _words(self) -> str:
        if self._report is not None:
            return report_text(self._report)
        return _(
            "TuckerSeg needs Python packages that are not installed yet: {packages}. They are installed once, into "
            "Slicer's own Python; packages that Slicer brings are left as they are."
        ).format(packages=", ".join(self._missing))

    def _on_report(self, report: DependencyReport) -> None:
        self._take(report)
        self._show(report_text(report))
        self._show_buttons(checking=False)
        self._context.refresh()

    def _on_install(self) -> None:
        self._install(None)

    def _on_wheel_folder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of wheels"))
        if folder:
            self._install(Path(str(folder)))

    def _install(self, wheel_folder: Path | None) -> None:
        """Find out what is there, and go on when that is known."""
        self._stop_check()
        self._looking = True
        self._show_buttons(checking=True)
        self._context.session.close()  # a running worker holds the files that are to be replaced
        self._context.status.say(_("Looking at what is installed…"))
        self._check = DependencyCheck(lambda report: self._carry_out(report, wheel_folder))
        self._check.start()

    def _carry_out(self, report: DependencyReport, wheel_folder: Path | None) -> None:
        """Ask once, install, and look again."""
        self._take(report)
        self._looking, self._installing = False, True
        try:
            done = install(
                plan_installation(report, wheel_folder), slicer.util.confirmOkCancelDisplay, self._context.status.log
            )
            self._context.status.say(_result_words(done))
            if done is not None:
                self._take(done.report)
        except TuckerSegError as error:
            self._context.status.say(str(error), "bad")
            self._context.status.log(str(error))
            slicer.util.errorDisplay(plain(str(error)))
        finally:
            self._installing = False
            self._show_buttons(checking=False)
        self._context.packages_changed.emit()

    def _show_buttons(self, checking: bool) -> None:
        """One thing at a time: pip is not disturbed, and nothing is asked twice."""
        ui = self._ui
        for button in (ui.dependencyInstallButton, ui.dependenciesInstallButton, ui.wheelFolderButton):
            button.enabled = not self._looking and not self._installing
        ui.dependenciesCheckButton.enabled = not checking and not self._installing

    def _on_python(self) -> None:
        """Another Python runs the worker from now on."""
        self._stop_check()
        self._show("")
        self._context.session.use_python(self._python.path)
        self._look()
        self._context.packages_changed.emit()
        if self._python.path:
            self.check()


def _result_words(done: InstallationResult | None) -> str:
    if done is None:
        return _("Nothing was installed.")
    if not done.changed:
        return _("Everything is installed.")
    words = _("Installed: {packages}.").format(packages=", ".join(done.changed))
    return f"{words} {_('Restart Slicer before you go on.')}" if done.needs_restart else words
