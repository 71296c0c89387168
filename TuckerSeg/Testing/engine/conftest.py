"""The worker as an application starts it, a volume to give it, and a labeled dataset to learn from."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from Testing.engine.handed_volumes import hand_over_noise
from Testing.engine.running_worker import LIBRARY_FOLDER, RunningWorker
from TuckerSegLib import InferenceSpec, Job, image_from_array, load_model, prepare
from TuckerSegLib.cli.main import main
from TuckerSegLib.hardware import torch_cpu, torch_threads
from TuckerSegLib.records.serialization import to_json
from TuckerSegLib.segmentation.predictor import Network

SHAPE_LABELS = {"background": 0, "ball": 1, "cube": 2}


@pytest.fixture
def tuckerseg(warm_python):
    """A function that runs the command line in a process of its own, and checks its exit code; None: any."""

    def run(*arguments: Any, check: int | None = 0) -> subprocess.CompletedProcess:
        command = [str(warm_python), "-m", "TuckerSegLib", *map(str, arguments)]
        done = subprocess.run(command, cwd=LIBRARY_FOLDER, capture_output=True, encoding="utf-8")
        assert check is None or done.returncode == check, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def signals_kept():
    """A command takes over signals; pytest gets them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def outcome_here(capsys, signals_kept):
    """A function that runs ``tuckerseg`` in this process; returns exit code, standard output and standard error."""

    def tuckerseg(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return tuckerseg


@pytest.fixture
def run_here(outcome_here):
    """A function that runs ``tuckerseg`` in this process, and checks its exit code; returns what was printed."""

    def tuckerseg(*arguments: Any, code: int = 0) -> str:
        found_code, printed, told = outcome_here(*arguments)
        assert found_code == code, told
        return printed

    return tuckerseg


@pytest.fixture
def one_thread():
    """On patches this small, threads wait for each other far longer than they compute."""
    with torch_threads(1):
        yield


@pytest.fixture
def open_predictors(monkeypatch):
    """How many predictors are open, as a list of that number."""
    count = [0]

    def change(by: int) -> None:
        count[0] += by

    monkeypatch.setattr(torch_cpu, "keep_freed_memory", lambda: change(1))
    monkeypatch.setattr(torch_cpu, "return_freed_memory", lambda: change(-1))
    return count


@pytest.fixture
def start_worker(tmp_path, warm_python):
    """A function that starts a worker; all are ended with the test.

    It is forked from a Python that has imported PyTorch; ``cold=True`` starts a Python, as an application does.
    """
    workers: list[RunningWorker] = []

    def start(*options: str, cold: bool = False, **settings: Any) -> RunningWorker:
        workspace = tmp_path / f"workspace-{len(workers)}"
        workspace.mkdir()
        python = sys.executable if cold else str(warm_python)
        workers.append(RunningWorker(python, workspace, *options, **settings))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()


@pytest.fixture
def hand_over(tmp_path):
    """A function that writes smooth noise in the range of HU, of a shape and affine, for the worker."""

    return functools.partial(hand_over_noise, tmp_path)


@pytest.fixture
def small_image(hand_over):
    """A small image of smooth noise."""
    return image_from_array(hand_over((24, 30, 28)).voxels, spacing_mm=(2.0, 1.5, 1.8))


@pytest.fixture
def small_ct(small_image, tmp_path) -> Path:
    """The same as a file."""
    import nibabel

    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(small_image.array[0].transpose(2, 1, 0), small_image.geometry.matrix), path)
    return path


@pytest.fixture
def ready_with(make_model_folder):
    """A function that gives a model that is ready on the processor, with a function of patches as its network."""

    def make(run, **settings):
        inference = InferenceSpec(precision="fp32", device="torch:cpu", threads=1)
        ready = prepare(load_model(make_model_folder(**settings)), inference)
        return replace(ready, network=Network(run, None, ready.network.is_out_of_memory))

    return make


@pytest.fixture
def job_for():
    """A function that makes the JSON of a job: a model at a rank ratio; 1 is the original network."""

    def make(model: Path | str, rank_ratio: float = 1.0, **inference: Any) -> dict[str, Any]:
        compression = {} if rank_ratio == 1 else {"method": "tucker", "compression": {"rank_ratio": rank_ratio}}
        return to_json(Job((), model=str(model), inference=InferenceSpec(**inference), **compression))

    return make


@pytest.fixture(scope="session")
def shapes():
    """A function from a number to a CT of a ball and a brighter cube in air, and its labels, both (24, 24, 24)."""

    def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(number)
        place = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"))
        ball, cube = random.integers(6, 9, 3), random.integers(15, 18, 3)
        labels = np.zeros((24, 24, 24), np.uint8)
        labels[np.linalg.norm(place - ball[:, None, None, None], axis=0) < 5] = 1
        labels[np.abs(place - cube[:, None, None, None]).max(axis=0) < 4] = 2
        intensities = np.array([-900, 100, 700])[labels] + random.normal(0, 30, labels.shape)
        return intensities.astype(np.int16), labels

    return draw


@pytest.fixture
def shapes_model(make_model_folder):
    """An untrained model with patches of 16 voxels for the labels of ``shapes``."""
    return load_model(make_model_folder(labels=SHAPE_LABELS, patch_shape=(16, 16, 16)))


@pytest.fixture
def make_shapes_dataset(tmp_path, shapes):
    """A function that writes ``shapes`` as an nnU-Net raw dataset of a few cases."""
    import nibabel

    def make(cases=3, labels=SHAPE_LABELS, name="Dataset001_Small", blank=False) -> Path:
        folder = tmp_path / "raw" / name
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        document = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
        (folder / "dataset.json").write_text(json.dumps(document))
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        for number in range(cases):
            intensities, truth = shapes(number)
            image = nibabel.Nifti1Image(intensities, affine)
            nibabel.save(image, folder / "imagesTr" / f"case{number}_0000.nii.gz")
            written = nibabel.Nifti1Image(truth * (not blank), affine)
            nibabel.save(written, folder / "labelsTr" / f"case{number}.nii.gz")
        return folder

    return make


@pytest.fixture
def shapes_set(make_shapes_dataset, shapes_model):
    """Three cases of ``shapes``, prepared for ``shapes_model``."""
    from TuckerSegLib.training.finetuning.dataset import read_raw_dataset
    from TuckerSegLib.training.finetuning.preparation import prepare_dataset

    return prepare_dataset(read_raw_dataset(make_shapes_dataset(), shapes_model.plans), shapes_model.plans)


@pytest.fixture(scope="session")
def coarse_demo(demo_folder, tmp_path_factory) -> Path:
    """The built-in network with its trained weights on a coarser grid, in patches that take a third of the time."""
    folder = tmp_path_factory.mktemp("demo") / demo_folder.name
    shutil.copytree(demo_folder, folder)
    (file,) = folder.glob("*/plans.json")
    plans = json.loads(file.read_text(encoding="utf-8"))
    plans["configurations"]["3d_fullres"] |= {"patch_size": [64, 64, 64], "spacing": [4.5, 4.5, 4.5]}
    file.write_text(json.dumps(plans), encoding="utf-8")
    return file.parent


@pytest.fixture
def oblique_ct(tmp_path) -> Path:
    """A smooth random volume of 1.5 mm with an oblique, flipped and permuted grid."""
    import nibabel
    import torch

    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(1, 1, 8, 7, 9, generator=generator) * 400
    values = torch.nn.functional.interpolate(coarse, (55, 47, 60), mode="trilinear")[0, 0].numpy().astype(np.int16)
    angle = 0.2
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 1.5, 0], [-1.25, 0, 0], [0, 0, 2.0]])
    affine[:3, 3] = (10, -20, 30)
    path = tmp_path / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.fixture
def nnunet_predictor():
    """A function from a results folder to nnunetv2's own predictor for it."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    def initialized(folder, folds=(0,), mirroring=False):
        predictor = nnUNetPredictor(
            tile_step_size=0.5,
            use_mirroring=mirroring,
            perform_everything_on_device=False,
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
        predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
        return predictor

    return initialized


@pytest.fixture
def nnunet_labels(tmp_path):
    """A function from such a predictor and images to its labels.

    It sums logits in half precision; in single precision where it is given float32 when it asks for ``torch.half``.
    """
    import nibabel
    import torch

    def predicted(predictor, images, accumulators=torch.float32):
        output = tmp_path / "nnunet"
        with mock.patch.object(torch, "half", accumulators):
            predictor.predict_from_files_sequential([[str(image) for image in images]], [str(output)], overwrite=True)
        return np.asarray(nibabel.load(f"{output}.nii.gz").dataobj).T

    return predicted


@pytest.fixture(scope="session")
def assert_equal_labels():
    """A function that compares two label maps voxel by voxel."""

    def compare(found, expected, share=0.9999):
        assert found.shape == expected.shape
        assert len(np.unique(expected)) > 2, "the comparison would say nothing"
        equal = (found == expected).mean()
        assert equal >= share, f"{equal:.6f} of the voxels are equal"

    return compare
