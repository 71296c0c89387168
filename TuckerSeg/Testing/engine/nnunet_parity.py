"""Every kind of nnU-Net model, as thin networks with random weights: labels of nnU-Net's own code and ours.

Nothing of nnU-Net's is looked up by the name of a trainer but ``nnUNetTrainer``. Its sums of logits are in single
precision here; see ``test_parity`` for what half precision changes.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import torch

from Testing.engine.nnunet_transformers import nnunet_transformer
from Testing.small_models import transformer_architecture, write_model_folder

LABELS = {"background": 0, "a": 1, "b": 2, "c": 3}
FLAT = {"configuration_name": "2d", "patch_shape": (1, 48, 40), "spacing": (3.0, 2.4, 2.7)}
LOWRES = {"configuration_name": "3d_lowres", "patch_shape": (24, 24, 32), "spacing": (5.0, 4.5, 4.5)}
FULLRES = {"configuration_name": "3d_fullres", "patch_shape": (32, 32, 32), "spacing": (3.5, 3.0, 3.2)}
SECOND = FULLRES | {"configuration_name": "3d_cascade_fullres", "previous_stage": "3d_lowres"}
TRANSFORMER = FULLRES | {"transformer": "Primus"}
MOST_BACKGROUND = 0.3  # added to background's logits: networks that were trained find it in much of an image
RULES = [{"labels_or_regions": [1, 2, 3]}, {"labels_or_regions": 2}]


@dataclass(frozen=True)
class Compared:
    """Labels (Z, Y, X) of both on one image; of probabilities the largest and the mean difference, too."""

    ours: np.ndarray
    theirs: np.ndarray
    difference: tuple[float, float] | None = None

    @property
    def unequal(self) -> int:
        """How many voxels."""
        return int((self.ours != self.theirs).sum())


class Parity:
    """Runs both on an image.

    Args:
        image: A NIfTI file.
        folder: An empty one, for models and results.
        run: Runs ``tuckerseg`` with these arguments.
    """

    def __init__(self, image: Path, folder: Path, run: Callable[..., object]):
        self._image, self._folder, self._run = folder / "v_0000.nii.gz", folder, run
        shutil.copyfile(image, self._image)  # nnU-Net finds labels of the stage before by the name of the case

    def compared(self, kind: str) -> Compared:
        """One of ``KINDS``."""
        return KINDS[kind](self)

    def _model(self, seed: int = 0, **settings) -> Path:
        folder = write_model_folder(self._folder / f"models{seed}", labels=LABELS, seed=seed, **settings)
        file = folder / "fold_0" / "checkpoint_final.pth"
        checkpoint = torch.load(file, weights_only=False)
        for name, weight in checkpoint["network_weights"].items():
            if "seg_layers" in name and name.endswith("bias"):
                weight[0] += MOST_BACKGROUND
        torch.save(checkpoint, file)
        return folder

    def _theirs(self, model: Path, previous: Path | None = None, transformer: str | None = None) -> Path:
        """Labels and probabilities (``.npz``, ``.pkl``) of nnU-Net's, in the folder's name."""
        predictor = _predictor(model, transformer)
        output = self._folder / f"theirs_{model.parent.parent.name}_{model.name}" / "v"
        output.parent.mkdir(exist_ok=True)
        with mock.patch.object(torch, "half", torch.float32), contextlib.redirect_stdout(None):
            predictor.predict_from_files_sequential(
                [[str(self._image)]], [str(output)], True, True, previous and str(previous)
            )
        return output

    def _ours(self, model: Path, *options) -> np.ndarray:
        file = self._folder / "ours" / "v.nii.gz"
        file.parent.mkdir(exist_ok=True)
        self._run("segment", self._image, file, "--model", model, "--precision", "fp32", "--no-skip", *options)
        return read_labels(file)

    def _both(self, **settings) -> Compared:
        model = self._model(**settings)
        theirs = self._theirs(model, transformer=settings.get("transformer"))
        return Compared(self._ours(model), read_labels(theirs))

    def _cascade(self) -> Compared:
        first, second = self._model(**LOWRES), self._model(**SECOND)
        before = self._theirs(first).parent
        return Compared(self._ours(second), read_labels(self._theirs(second, before)))

    def _ensemble(self) -> Compared:
        from nnunetv2.ensembling.ensemble import merge_files

        models = [self._model(**FLAT), self._model(**LOWRES)]
        arrays = [f"{self._theirs(model)}.npz" for model in models]
        predictor, merged = _predictor(models[0]), self._folder / "merged"
        reader = predictor.plans_manager.image_reader_writer_class()
        manager = predictor.plans_manager.get_label_manager(predictor.dataset_json)
        merge_files(arrays, str(merged), ".nii.gz", reader, manager)
        return Compared(self._ours(models[0], "--ensemble", models[1]), read_labels(merged))

    def _postprocessing(self) -> Compared:
        from nnunetv2.postprocessing import remove_connected_components as theirs

        model, rules = self._model(**FULLRES), self._folder / "postprocessing.pkl"
        functions = [theirs.remove_all_but_largest_component_from_segmentation] * len(RULES)
        rules.write_bytes(pickle.dumps((functions, RULES)))
        before = read_labels(self._theirs(model))
        cleaned = theirs.apply_postprocessing(before.copy(), functions, RULES)
        assert (cleaned != before).any(), "the comparison would say nothing"
        return Compared(self._ours(model, "--postprocessing", rules), cleaned)

    def _probabilities(self) -> Compared:
        model = self._model(**FULLRES)
        theirs = self._theirs(model)
        labels = self._ours(model, "--save-probabilities")
        arrays = (np.load(each)["probabilities"] for each in (f"{theirs}.npz", self._folder / "ours" / "v.npz"))
        difference = np.abs(np.subtract(*arrays, dtype=np.float32))
        return Compared(labels, read_labels(theirs), (float(difference.max()), float(difference.mean())))


KINDS: dict[str, Callable[[Parity], Compared]] = {
    "2d": lambda parity: parity._both(**FLAT),
    "3d_lowres": lambda parity: parity._both(**LOWRES),
    "cascade": Parity._cascade,
    "Primus": lambda parity: parity._both(**TRANSFORMER),
    "ensemble": Parity._ensemble,
    "postprocessing": Parity._postprocessing,
    "probabilities": Parity._probabilities,
}


def read_labels(path: Path) -> np.ndarray:
    """Labels (Z, Y, X) of a NIfTI file, whose ending may be left out."""
    return np.asarray(nibabel.load(path if path.suffix else f"{path}.nii.gz").dataobj).T


def _predictor(model: Path, transformer: str | None = None):
    """nnU-Net's own, ready; the class of a transformer is given to it, since its trainers would be looked up."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    if transformer is None:
        with contextlib.redirect_stdout(None):
            predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
        return predictor
    plans, dataset = (json.loads((model / f"{name}.json").read_text()) for name in ("plans", "dataset"))
    weights = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
    sizes = transformer_architecture(transformer, FULLRES["patch_shape"])[1]
    network = nnunet_transformer(transformer)(input_channels=1, num_classes=len(LABELS), **sizes).eval()
    manager = PlansManager(plans)
    configuration = manager.get_configuration(model.name.rpartition("__")[2])
    predictor.manual_initialization(network, manager, configuration, [weights], dataset, "nnUNetTrainer", None)
    return predictor
