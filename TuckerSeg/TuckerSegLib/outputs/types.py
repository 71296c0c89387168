"""Types of files that labels are written to, and which files a run is to write. Knows no format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ..errors import OutputError
from ..printable import shown
from ..records.job import Job, OutputFile

TYPES = {  # in the order of help, and the ending of their files
    "nifti": ".nii.gz",
    "nrrd": ".nrrd",
    "mha": ".mha",
    "slicer": ".seg.nrrd",
    "seg": ".seg.dcm",
    "rtstruct": ".rtstruct.dcm",
    "sr": ".sr.dcm",
}
DICOM_ENDING = ".dcm"
DICOM_TYPES = ("seg", "rtstruct", "sr")
ONE_PER_STRUCTURE = tuple(name for name in TYPES if name != "sr")
ENDINGS = (  # what names say; the first that fits counts
    (".seg.nrrd", "slicer"),
    (".rtstruct.dcm", "rtstruct"),
    (".sr.dcm", "sr"),
    (".seg.dcm", "seg"),
    (".dcm", "seg"),
    (".nii.gz", "nifti"),
    (".nii", "nifti"),
    (".nrrd", "nrrd"),
    (".mha", "mha"),
)


def output_files(job: Job) -> tuple[OutputFile, ...]:
    """All files that a job writes.

    Raises:
        OutputError: The ending of its ``output`` says no type.
    """
    return (planned_outputs(job.output) if job.output else ()) + job.outputs


def type_of(path: str) -> str | None:
    """The type that a name's ending says; None where it says none."""
    return _split(path)[1]


def without_ending(path: str) -> str:
    """A path without the ending that says a type."""
    ending, _ = _split(path)
    return path[: len(path) - len(ending)]


def planned_outputs(path: str, types: Sequence[str] | None = None, split: bool = False) -> tuple[OutputFile, ...]:
    """The files that a run is to write.

    Args:
        path: As it was named. It is written as it is where its ending fits the type; else each type has its own ending.
        types: Names in :data:`TYPES`, each once; None: what the path's ending says.
        split: One file per structure, in a folder that is called as the file would be without its ending.

    Raises:
        OutputError: No such type, none, a report without a SEG, or a path whose ending says no type.
    """
    ending, own_type = _split(path)
    if types is None:
        if own_type is None:
            known = ", ".join(sorted(ending for ending, _ in ENDINGS))
            raise OutputError(f"{path}: unknown extension for a segmentation; known: {known}.")
        return (_checked(OutputFile(path, own_type, split)),)
    unknown = [name for name in types if name not in TYPES]
    if unknown:
        raise OutputError(f"The types of output are {', '.join(TYPES)}; found {shown(unknown[0])}.")
    chosen = list(dict.fromkeys(types))
    if not chosen:
        raise OutputError(f"At least one type of output is needed: {', '.join(TYPES)}.")
    if "sr" in chosen and "seg" not in chosen:
        raise OutputError(
            f"{path}: a report (sr) refers to the DICOM SEG of the same run. Ask for both.",
            shell="That is --output-type seg,sr.",
        )
    stem, outputs = path[: len(path) - len(ending)], []
    for name in chosen:
        plain_dicom = len(chosen) == 1 and name in DICOM_TYPES and own_type in DICOM_TYPES
        fits = name == own_type or plain_dicom
        outputs.append(_checked(OutputFile(path if fits else stem + TYPES[name], name, split)))
    return tuple(outputs)


def _checked(output: OutputFile) -> OutputFile:
    if output.split and output.type not in ONE_PER_STRUCTURE:
        raise OutputError(f"A report ({output.type}) tells of all structures, and cannot be one file per structure.")
    return output


def _split(path: str) -> tuple[str, str | None]:
    name = PurePath(path).name.lower()
    fit = ((ending, kind) for ending, kind in ENDINGS if name.endswith(ending) and name != ending)
    return next(fit, ("", None))
