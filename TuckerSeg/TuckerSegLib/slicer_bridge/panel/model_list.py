"""Which models the panel offers, and in what state each is: tasks of the catalog, and models that the user imported.

Text only; knows nothing of widgets.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from ... import catalog
from ... import model_zoo as installed_models
from ...catalog.entries import Task
from ...catalog.structures import title_of
from ...model_zoo import ImportedModel
from ...printable import printable
from ..words import bytes_in_words

PROPOSED = ("total_fast", "total", "total_fastest")  # the first that is on this computer
FAVORITES = ("total", "total_fast", "total_fastest", "body", "lung_vessels", "total_mr")


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be picked.

    Attributes:
        name: For a job: a task, an imported model, or a path.
        title: One line.
        state: Whether it is here, in a few words.
        details: For a tool tip, as rich text.
        refusal: Why it cannot be run; empty where it can.
        search_text: What a search looks through.
    """

    name: str
    title: str
    state: str = ""
    details: str = ""
    refusal: str = ""
    search_text: str = ""

    @property
    def text(self) -> str:
        return f"{self.title} ({self.state})" if self.state else self.title


def built_in_entries() -> list[ModelEntry]:
    """Tasks that come with the program."""
    return [_task_entry(known) for known in catalog.known_models()]


def favorite_entries() -> list[ModelEntry]:
    """The tasks that most users want, the most complete first."""
    return [_task_entry(known) for known in map(catalog.task, FAVORITES) if known is not None]


def other_entries() -> list[ModelEntry]:
    """All other tasks: those for CT, those for MR, and those that are refused."""
    apart = {*FAVORITES, *(known.name for known in catalog.known_models())}
    others = [known for known in catalog.tasks() if known.name not in apart]
    return [_task_entry(known) for known in sorted(others, key=_rank)]


def imported_entries() -> list[ModelEntry]:
    """What the user imported."""
    return [_imported_entry(model) for model in installed_models.imported_models()]


def entry_of(name: str) -> ModelEntry:
    """Any model by its name or path."""
    if known := catalog.task(name):
        return _task_entry(known)
    for model in installed_models.imported_models():
        if model.name == name:
            return _imported_entry(model)
    return ModelEntry(name, Path(name).name, details=_paragraphs([name]))


def proposed_model(last_used: str) -> str:
    """What to begin with: the model that was used last, or a task for patients, where such a one is on this computer.

    Args:
        last_used: Name of the model that was used last; empty where none was.
    """
    return next(filter(_is_for_patients, (last_used, *PROPOSED)), catalog.known_models()[0].name)


def _is_for_patients(name: str) -> bool:
    """Whether a model is on this computer and not for demonstrations alone."""
    if known := catalog.task(name):
        return known.path is None and not known.license_key_required and installed_models.is_installed(known)
    return name in [model.name for model in installed_models.imported_models()]


def warning_of(name: str) -> str:
    """What one is to be warned of before one relies on a model that comes with the program; empty for any other."""
    known = catalog.task(name)
    return known.note if known is not None and known.path is not None else ""


def group_of(known: Task) -> str:
    """Heading under which a task stands."""
    if known.license_key_required:
        return _("License key needed")
    return _("MR") if known.modality == "MR" else _("CT")


def size_words(size_bytes: int | None) -> str:
    """``234 MB to download``."""
    return _("{size} to download").format(size=bytes_in_words(size_bytes)) if size_bytes else _("to download")


def _rank(known: Task) -> tuple[bool, bool]:
    return known.license_key_required, known.modality != "CT"


def _task_entry(known: Task) -> ModelEntry:
    refusal = installed_models.refusal(known) or ""
    details = [known.title, known.note, *facts_of_task(known), _("License: {words}.").format(words=known.license)]
    if known.citation:
        details.append(_("To cite: {words}.").format(words=known.citation))
    words = [known.name.replace("_", " "), known.title, *(title_of(name) for _, name in known.structures)]
    return ModelEntry(
        known.name, known.title, _state(known), _paragraphs([refusal, *details]), refusal, " ".join(words)
    )


def facts_of_task(known: Task) -> list[str]:
    """What the catalog knows of a task, without its files."""
    facts = [_("{count} structures.").format(count=len(known.structures))]
    if known.spacing_mm:
        facts.append(_("Voxels of {spacing} mm.").format(spacing=spacing_words(known.spacing_mm)))
    if len(known.parts) > 1:
        facts.append(_("Networks: {names}.").format(names=", ".join(part.title for part in known.parts)))
    return facts


def spacing_words(spacing_mm: tuple[float, ...]) -> str:
    """A spacing (Z, Y, X) in the order in which people write it; one number where all are the same."""
    sizes = [f"{size:.3g}" for size in spacing_mm[::-1]]
    return sizes[0] if len(set(sizes)) == 1 else " × ".join(sizes)


def _state(known: Task) -> str:
    if known.license_key_required:
        return _("license key needed")
    if known.path is not None:
        return _("built in")
    missing = [part for part in known.parts if installed_models.find_part(part) is None]
    if not missing:
        return _("installed")
    sizes = [part.size_bytes for part in missing]
    return size_words(None if None in sizes else sum(sizes))


def _imported_entry(model: ImportedModel) -> ModelEntry:
    details = [model.title, _("Imported from {source}").format(source=model.source)] if model.source else [model.title]
    return ModelEntry(model.name, model.name, _("imported"), _paragraphs(details), "", f"{model.name} {model.title}")


def _paragraphs(lines: list[str]) -> str:
    return "".join(f"<p>{html.escape(printable(line))}</p>" for line in lines if line)
