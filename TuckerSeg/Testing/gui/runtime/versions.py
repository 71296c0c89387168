"""What differs between the releases of Slicer that the module has to work in, as far as it notices.

The strictest rule holds unless a test asks for a release with :func:`use`. Alike in all: PythonQt's lifetimes, what
CTK's widgets tell, what ``parameterNodeWrapper`` keeps.
"""

import sys
from dataclasses import dataclass

import bases
import pythonqt
import sample_data
import slicer

NEWER_THAN_QT_5 = frozenset({"checkStateChanged", "colorScheme", "setColorScheme", "startCommand", "unsetColorScheme"})


@dataclass(frozen=True)
class SlicerVersion:
    """One release.

    Attributes:
        number: Major, minor, patch.
        qt: Major version of Qt.
        has_packaging: Whether there is ``slicer.packaging``; before, pip is run by ``slicer.util.pip_install``.
        has_category_titles: Whether Sample Data knows titles of categories.
        keeps_observer: Whether ``disconnectGui`` leaves its observer at the parameter node.
    """

    number: tuple[int, int, int]
    qt: int
    has_packaging: bool
    has_category_titles: bool
    keeps_observer: bool

    @property
    def hidden_names(self):
        """Attributes of Qt objects that this release has not."""
        return NEWER_THAN_QT_5 if self.qt == 5 else frozenset()


VERSIONS = {
    "5.10": SlicerVersion((5, 10, 0), 5, has_packaging=False, has_category_titles=False, keeps_observer=True),
    "5.12": SlicerVersion((5, 12, 3), 5, has_packaging=True, has_category_titles=True, keeps_observer=False),
    "6": SlicerVersion((6, 0, 0), 6, has_packaging=True, has_category_titles=True, keeps_observer=False),
}
STRICTEST = SlicerVersion((5, 12, 3), 6, has_packaging=True, has_category_titles=False, keeps_observer=True)
current = STRICTEST


def use(version):
    """Let the runtime follow a release's rules from now on."""
    global current
    current = version
    pythonqt.hidden_names = version.hidden_names
    sample_data.know_titles(version.has_category_titles)
    if version.has_packaging:
        sys.modules["slicer.packaging"] = slicer.packaging = bases.packaging
    else:
        sys.modules["slicer.packaging"] = None  # importing it fails
        slicer.__dict__.pop("packaging", None)
