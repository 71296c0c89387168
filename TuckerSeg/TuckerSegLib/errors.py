"""What can go wrong, as types. A message says what was expected, what was found and what to do.

The same errors are shown in a terminal, in the panel of 3D Slicer and by other people's programs. So the message itself
has no words of one of them; what is typed on a command line stands apart, and only the command line shows it.
"""


class TuckerSegError(Exception):
    """Any failure that a user can understand and act on.

    Args:
        message: In words that fit wherever it is shown.
        shell: What a user of the command line types or sets about it, as a sentence.

    Example:
        >>> try:
        ...     model = load_model("MISSING_FOLDER")
        ... except TuckerSegError as error:
        ...     print(error)
    """

    def __init__(self, message: str = "", *, shell: str = ""):
        super().__init__(message)
        self.shell = shell


class ModelFolderError(TuckerSegError):
    """Not a readable nnU-Net model folder or zip."""


class UnsupportedModelError(TuckerSegError):
    """A readable nnU-Net model of a kind that is not handled, as an unknown architecture."""


class SpecError(TuckerSegError, ValueError):
    """A setting is out of its range or unknown."""


class BackendError(TuckerSegError):
    """The hardware asked for is not usable."""


class OutOfMemoryError(BackendError):
    """The device has too little memory, even after every step down."""


class ModelFileError(TuckerSegError):
    """A ``.tuckerseg`` file is damaged or of a newer format version."""


class ImageError(TuckerSegError):
    """An image cannot be read, or cannot be segmented as it is."""


class DatasetError(TuckerSegError):
    """A labeled dataset cannot be read, or does not fit the model."""


class OutputError(TuckerSegError):
    """A result cannot be written."""


class DiskFullError(OutputError):
    """A result cannot be written because the disk is full."""


class DownloadError(TuckerSegError):
    """A model cannot be downloaded: no connection, wrong checksum, full disk, or a license key is needed."""


class ServerError(TuckerSegError):
    """A server cannot be reached, refuses a client, or a client asks for what a server does not do."""


class DependencyError(TuckerSegError):
    """A Python package that the worker needs is missing, broken, or cannot be installed."""


class Cancelled(Exception):
    """The user stopped the run. Not an error, so not a TuckerSegError."""


def words_for_shell(error: BaseException) -> str:
    """An error's message with what is typed on a command line about it, or about an error that it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        if hint := getattr(cause, "shell", ""):
            return f"{error} {hint}"
        cause = cause.__cause__
    return str(error)
