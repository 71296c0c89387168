"""Finds the region of interest of an image: the box that was asked for and, in a CT, the body without the air."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..image import Box, Image
from ..nnunet.plans import ModelPlans
from ..quality import may_be_hounsfield
from ..records.job import InferenceSpec
from ..resampling import output_shape
from ..sliding_window import Selection, StreamSpec, patch_count, select_patches
from .body_mask import Body, coarse_shape, find_body
from .preprocess import box_on_network_axes, network_view
from .roi import Roi, box_mask


class RoiFinder:
    """Finds the regions of interest of one image for several models; the body is looked for once per set of axes.

    Args:
        inference: Settings of the run, with a step fraction that is not None.
        box: Slices of the image's grid, (Z, Y, X), that are asked for; None: the whole image.
    """

    def __init__(self, inference: InferenceSpec, box: Box | None = None):
        self._inference, self._box = inference, box
        self._bodies: dict[tuple, Body] = {}

    def find(
        self, image: Image, shape: Sequence[int], plans: ModelPlans, convention: str
    ) -> tuple[Roi, tuple[str, ...]]:
        """Find the region of interest for one model.

        Args:
            image: As read; the same image in every call.
            shape: (Z, Y, X) of the image on the model's grid, in voxels.
            plans, convention: As for :func:`preprocess`.

        Returns:
            The region of interest, and sentences for the user: why no air was skipped although that was asked for.
        """
        if not self.may_skip(shape, plans):
            return Roi(None, self._box), ()
        body, notes = None, ()
        if self._skips_air(plans):
            search = self._find_body(image, plans, convention)
            body, notes = (
                search.mask,
                (f"No patch was skipped as air, because {search.doubt}.",) if search.doubt else (),
            )
        if self._box is None:
            return Roi(body), notes
        box = self._box_mask(image, plans, convention)
        body_in_box = box if body is None else box & body
        return Roi(body_in_box if body_in_box.any() else box, self._box), notes

    def select_patches(self, image: Image, plans: ModelPlans, convention: str) -> Selection:
        """The patches that a run of the model on the image would take; arguments as for :meth:`find`."""
        view, spacing_mm, _ = network_view(image, plans, convention)
        shape = output_shape(view.shape[1:], spacing_mm, plans.grid_spacing_mm(spacing_mm), convention)
        roi, _ = self.find(image, shape, plans, convention)
        return select_patches(shape, plans.patch_shape, self._inference.step_fraction, roi.mask)

    def may_skip(self, shape: Sequence[int], plans: ModelPlans) -> bool:
        """Whether a run may take fewer patches than cover a grid of ``shape`` (Z, Y, X); reads no voxels."""
        several = patch_count(shape, StreamSpec(plans.patch_shape, self._inference.step_fraction)) > 1
        return several and (self._box is not None or self._skips_air(plans))

    def _skips_air(self, plans: ModelPlans) -> bool:
        return self._inference.skip_empty and plans.expects_hounsfield and plans.image_channels == 1

    def _find_body(self, image: Image, plans: ModelPlans, convention: str) -> Body:
        if not may_be_hounsfield(image.array[0]):
            return Body(None, "the intensities may not be Hounsfield units")
        axes = (plans.orientation, plans.transpose_forward, convention)
        if axes not in self._bodies:
            view, spacing_mm, _ = network_view(image, plans, convention)
            self._bodies[axes] = find_body(view[0], spacing_mm)
        return self._bodies[axes]

    def _box_mask(self, image: Image, plans: ModelPlans, convention: str) -> np.ndarray:
        """The box that is asked for, as a mask of the same shape as the body's."""
        view, spacing_mm, crop = network_view(image, plans, convention)
        box = box_on_network_axes(self._box, image.geometry, plans, crop)
        return box_mask(box, coarse_shape(view.shape[1:], spacing_mm), view.shape[1:])
