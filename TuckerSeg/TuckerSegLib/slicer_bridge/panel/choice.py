"""What the user has chosen, as facts that sections share. Holds no widget and asks nobody."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from ... import catalog
from ...catalog import structures
from ...catalog.entries import Task
from ...errors import ImageError, TuckerSegError
from ...model_zoo.pending import PendingDownload, pending_download
from ...records.chosen_servers import is_server
from ...records.job import SMALL_BLOB_MM3, InferenceSpec
from ..client.segmentation_run import RunSettings
from ..scene.volumes import check_volume
from .cautions import CT, cautions_of
from .model_list import entry_of

ALL, SELECTED, GROUP = "all", "selected", "group:"
AUTO_DEVICE = "auto"


class Choice:
    """The parameter node's choices, worked out.

    Attributes:
        parameters: The typed parameter node; None while none is followed, as when a scene is closed.
        proposed_volume: What is taken where no volume is chosen. It is the panel's idea, and not written to the scene
            before the user agrees by using it.
        model_facts: Labels of the chosen model and more, once they are known.
        obstacles: Why it cannot be run, as sections learned it from the worker: subject to words.
        remarks: What should be known before a run, as sections learned it: subject to words.
    """

    def __init__(self) -> None:
        self.parameters: Any = None
        self.proposed_volume: slicer.vtkMRMLScalarVolumeNode | None = None
        self.model_facts: dict[str, Any] | None = None
        self.obstacles: dict[str, str] = {}
        self.remarks: dict[str, str] = {}
        self._pending_of: tuple | None = None
        self._pending: PendingDownload | None = None
        self._pending_problem = ""

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The chosen volume, else the proposed one; None where there is neither."""
        if self.parameters is None:
            return None
        if self.parameters.inputVolume is not None:
            return self.parameters.inputVolume
        proposed = self.proposed_volume
        return proposed if proposed is not None and proposed.GetScene() is not None else None

    def task(self) -> Task | None:
        """The chosen task of the catalog; None for any other model, and for one that is built in."""
        known = catalog.task(self.parameters.model)
        return None if known is None or known.path is not None else known

    def structure_names(self) -> tuple[str, ...]:
        """Names of the model's structures, once they are known."""
        facts = self.model_facts
        return tuple(label["name"] for label in facts["labels"]) if facts else ()

    def structures(self) -> tuple[str, ...] | None:
        """Names of the structures that are wanted and that the model has; None for all."""
        choice, names = self.parameters.structuresChoice, self.structure_names()
        if choice == SELECTED:
            wanted = tuple(self.parameters.selectedStructures)
            return tuple(name for name in wanted if name in names) if names else wanted
        if choice.startswith(GROUP):
            group = choice.removeprefix(GROUP)
            return tuple(structures.groups(names).get(group, ())) if names else (group,)
        return None

    def can_crop(self) -> bool:
        """Whether a fast network is known that finds the box of the wanted structures."""
        known = self.task()
        return bool(known and known.crop_task and not known.crop_structures) and self.structures() is not None

    def crop(self) -> str | None:
        """``auto`` where only the box of the structures is wanted and can be found."""
        return "auto" if self.parameters.cropToStructures and self.can_crop() else None

    def problem(self) -> str | None:
        """Why what is chosen cannot be run, in words; None where it can, as far as is known."""
        try:
            check_volume(self.volume)
        except ImageError as error:
            return str(error)
        return self.problem_of_model()

    def problem_of_model(self) -> str | None:
        """Why the model cannot give the structures, whatever the volume; None where it can, as far as is known."""
        if self.structures() == ():
            chosen = self.parameters.structuresChoice
            if chosen == SELECTED:
                return _("Check at least one structure.")
            return _("This model has no {group}: choose other structures.").format(group=chosen.removeprefix(GROUP))
        refusal = entry_of(self.parameters.model).refusal
        return next(filter(None, (refusal, *self.obstacles.values())), None)

    def cautions(self) -> list[str]:
        """What should be known before a run that is possible, the gravest first."""
        if self.problem() is not None:
            return []
        return [*cautions_of(self.volume, self.modality()), *filter(None, self.remarks.values())]

    def modality(self) -> str | None:
        """What the chosen model was trained on, ``CT`` or ``MR``; None where it is not known yet."""
        if known := catalog.task(self.parameters.model):
            return known.modality
        expects = (self.model_facts or {}).get("expects_hounsfield")
        return CT if expects else None

    def settings(self) -> RunSettings:
        """What a run of it is asked to do.

        Raises:
            SpecError: A field is out of its range.
        """
        p = self.parameters
        inference = InferenceSpec(
            step_fraction=None if p.recommendedStep else round(p.stepFraction, 4),
            mirroring=p.mirroring,
            device=AUTO_DEVICE if is_server(p.device) else p.device,
            precision=p.precision,
            threads=p.threads or None,
            output_grid=p.outputGrid,
            skip_empty=p.skipEmpty,
            remove_blobs_mm3=SMALL_BLOB_MM3 if p.removeSmallBlobs else 0.0,
        )
        return RunSettings(
            p.model,
            round(p.rankRatio, 4),
            self.structures(),
            inference,
            p.standardNames,
            p.calibrate,
            p.refit,
            self.crop(),
            p.method,
            round(p.agreement, 4) or None,
        )

    @property
    def pending(self) -> PendingDownload | None:
        """What it would download first; None where everything is here."""
        self._find_pending()
        return self._pending

    @property
    def pending_problem(self) -> str:
        """Why it is not known what would be downloaded; empty where it is."""
        self._find_pending()
        return self._pending_problem

    def forget_pending(self) -> None:
        """Something may have been downloaded: look again when somebody asks."""
        self._pending_of = None

    def _find_pending(self) -> None:
        known = self.task()
        wanted, crop = self.structures(), self.crop() is not None
        question = (known and known.name, wanted, crop, is_server(self.parameters.device))
        if question == self._pending_of:
            return
        self._pending_of, self._pending, self._pending_problem = question, None, ""
        if known is None or known.license_key_required or is_server(self.parameters.device):
            return
        try:
            self._pending = pending_download(known, wanted, crop)
        except TuckerSegError as error:
            self._pending_problem = str(error)
