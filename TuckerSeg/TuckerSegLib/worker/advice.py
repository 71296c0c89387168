"""What to do next, for each kind of error: one sentence for a person."""

from __future__ import annotations

from ..errors import BackendError, ImageError, ModelFileError, ModelFolderError, OutOfMemoryError, TuckerSegError

_ADVICE = (  # the first that fits
    (OutOfMemoryError, ""),  # says it itself
    (MemoryError, "Close other programs, compress more, or crop the volume."),
    (ImportError, "Install or repair the Python packages under Advanced, Dependencies."),
    (BackendError, "Choose another device under Hardware."),
    (ImageError, "Check the volume, or choose another one."),
    ((ModelFolderError, ModelFileError), "Choose another model, or get this one again."),
    (TuckerSegError, ""),
    (OSError, "Check the disk, and that the folder can be written."),
)


def advice_for(error: BaseException) -> str:
    """What a user can do about an error; empty where its message says so already."""
    for kinds, words in _ADVICE:
        if isinstance(error, kinds):
            return words
    return "This is a fault of the program: please report it with the log."
