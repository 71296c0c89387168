"""Fixtures that every tier uses."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with public CTs that are not part of the project: TUCKERSEG_SHARED, or ``shared`` beside the project."""
    folder = Path(os.environ.get("TUCKERSEG_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "example_ct.nii.gz").is_file():
        pytest.skip(f"needs real CTs in {folder}/data, which are not part of the project")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    """Every test has a cache of its own, so that none depends on what another or the user left there."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TUCKERSEG_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def own_models(tmp_path_factory, monkeypatch) -> Path:
    """Every test has a folder of its own for models, and sees none that the user has elsewhere."""
    folder = tmp_path_factory.mktemp("models")
    monkeypatch.setenv("TUCKERSEG_MODELS_DIR", str(folder))
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(folder / "no_totalsegmentator"))
    for name in ("TOTALSEG_WEIGHTS_PATH", "nnUNet_results", "TUCKERSEG_DOWNLOAD_URL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The built-in demonstration model."""
    return ROOT / "TuckerSeg" / "Resources" / "Models" / "Dataset900_TuckerSegDemo"


@pytest.fixture
def make_model_folder(tmp_path):
    """A function that writes a small, complete nnU-Net results folder with random weights."""
    return functools.partial(write_model_folder, tmp_path)


@pytest.fixture(scope="session")
def total_networks(tmp_path_factory) -> Path:
    """Small networks with the names and class counts of those of the task ``total``, in a folder of results."""
    return write_networks(tmp_path_factory.mktemp("results"), "total")


@pytest.fixture
def installed_total(total_networks, own_models, monkeypatch) -> Path:
    """The same, where the program looks for them."""
    monkeypatch.setenv("nnUNet_results", str(total_networks))
    return total_networks


@pytest.fixture
def install_tasks(tmp_path_factory, monkeypatch):
    """A function that writes small networks of tasks of the catalog to where the program looks for them."""

    def install(*task_names: str) -> Path:
        root = tmp_path_factory.mktemp("results")
        for name in task_names:
            write_networks(root, name)
        monkeypatch.setenv("nnUNet_results", str(root))
        return root

    return install


@pytest.fixture
def installed_with_fast(install_tasks) -> Path:
    """Networks of tasks that can be cropped, and of the fast task that finds their boxes."""
    return install_tasks("total_v3_fast", "total_v3_fastest", "lung_nodules", "total_fastest")


def write_networks(root: Path, task_name: str, **settings) -> Path:
    """Networks of a task of the catalog, each normalized in its own way, and each finding much background.

    Args:
        settings: See ``write_model_folder``.
    """
    import json

    import torch

    from TuckerSegLib.catalog.entries import task

    known = task(task_name)
    names = dict(known.structures)
    for number, part in enumerate(known.parts):
        labels = {"background": 0, **{names[value]: own for own, value in part.labels or zip(names, names)}}
        folder = write_model_folder(root, part.dataset, labels=labels, spacing=known.spacing_mm, **settings)
        plans = json.loads((folder / "plans.json").read_text())
        plans["foreground_intensity_properties_per_channel"]["0"] |= {"mean": 100.0 * number, "std": 200.0}
        (folder / "plans.json").write_text(json.dumps(plans))
        for file in folder.glob("fold_*/checkpoint_final.pth"):
            checkpoint = torch.load(file, weights_only=False)
            generator = torch.Generator().manual_seed(number)
            for name, weight in checkpoint["network_weights"].items():
                if weight.ndim == 5:
                    weight.copy_(torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5)
                elif "seg_layers" in name:
                    weight[0] += 1.0
            torch.save(checkpoint, file)
        folder.rename(folder.with_name(part.configuration))
    return root


def write_model_folder(
    parent: Path,
    name: str = "Dataset001_Small",
    residual: bool = False,
    old_plans: bool = False,
    labels: dict | None = None,
    region_order: list[int] | None = None,
    folds: tuple[str, ...] = ("0",),
    channels: int = 1,
    mirror_axes: tuple[int, ...] | None = None,
    patch_shape: tuple[int, int, int] = (32, 32, 32),
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0),
    transpose: tuple[int, int, int] = (0, 1, 2),
    normalization: str = "CTNormalization",
    reader: str = "NibabelIOWithReorient",
) -> Path:
    """See ``make_model_folder``; returns the ``Trainer__Plans__Configuration`` folder."""
    import json

    import torch

    from TuckerSegLib.nnunet.network import build_network
    from TuckerSegLib.nnunet.plans import Architecture

    labels = labels or {"background": 0, **{f"structure_{value}": value for value in range(1, 20)}}
    outputs = len(region_order) if region_order else len([key for key in labels if key != "ignore"])
    class_name, kwargs = _architecture(residual)
    imports = ("conv_op", "norm_op", "dropout_op", "nonlin")
    configuration = {
        "data_identifier": "small",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch_shape),
        "median_image_size_in_voxels": list(patch_shape),
        "spacing": list(spacing),
        "normalization_schemes": [normalization] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
        "batch_dice": False,
    }
    if old_plans:
        configuration |= {
            "UNet_class_name": class_name.rpartition(".")[2],
            "UNet_base_num_features": 8,
            "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": kwargs["n_blocks_per_stage"] if residual else kwargs["n_conv_per_stage"],
            "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [2, 2, 2],
            "pool_op_kernel_sizes": kwargs["strides"],
            "conv_kernel_sizes": kwargs["kernel_sizes"],
        }
    else:
        architecture = {"network_class_name": class_name, "arch_kwargs": kwargs, "_kw_requires_import": list(imports)}
        configuration["architecture"] = architecture
    intensities = {"mean": 20.0, "std": 300.0, "percentile_00_5": -1000.0, "percentile_99_5": 900.0}
    plans = {
        "dataset_name": name,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": list(patch_shape),
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [list(transpose).index(axis) for axis in range(3)],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(channel): intensities for channel in range(channels)},
    }
    dataset = {
        "channel_names": {str(channel): "CT" for channel in range(channels)},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if region_order:
        dataset["regions_class_order"] = region_order
    folder = parent / name / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for number, fold in enumerate(folds):
        torch.manual_seed(number)
        network = build_network(Architecture(class_name, kwargs, imports), channels, outputs)
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "3d_fullres", "fold": fold},
            "inference_allowed_mirroring_axes": mirror_axes,
            "logging": {"mean_fg_dice": [numpy.float64(0.5), numpy.float32(0.5)]},  # as nnU-Net's logger leaves it
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


@dataclass
class FileServer:
    """What a server has and how it behaves; tests change it while it runs.

    Attributes:
        files: Path to content.
        ranges: Whether it knows ``Range``.
        validators: ``ETag`` and ``Last-Modified`` that it sends.
        cuts: Bytes of content after which it drops each of the next connections; None: it does not.
        statuses: Answers to the next requests instead of files.
        redirections: Path to address.
        requests: (path, headers) of what was asked for.
        sent: Bytes of content that were sent.
        stop_after: Bytes of content after which it sends nothing more, and leaves the connection open until
            ``go_on`` is set; None: it does not.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"first"'})
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirections: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    url: str = ""
    stop_after: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        behavior: FileServer = self.server.behavior
        behavior.requests.append((self.path, dict(self.headers)))
        if behavior.statuses and (status := behavior.statuses.pop(0)) != 200:
            self._answer(status, {"Content-Length": "0"})
        elif address := behavior.redirections.get(self.path):
            self._answer(302, {"Location": address, "Content-Length": "0"})
        elif self.path in behavior.files:
            self._send(behavior, behavior.files[self.path])
        else:
            self._answer(404, {"Content-Length": "0"})

    def _send(self, behavior: FileServer, content: bytes) -> None:
        headers, start, status = dict(behavior.validators), 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if behavior.ranges else None
        same = self.headers.get("If-Range") in (None, *behavior.validators.values())
        if asked and same:
            start, status = int(asked[1]), 206
            if start >= len(content):
                self._answer(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(status, {**headers, "Content-Length": str(len(content) - start)})
        cut = behavior.cuts.pop(0) if behavior.cuts else None
        piece = content[start:] if cut is None else content[start : start + cut]
        behavior.sent += len(piece)
        if behavior.stop_after is not None:
            self.wfile.write(piece[: behavior.stop_after])
            behavior.go_on.wait()
            return
        self.wfile.write(piece)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """Who cancels a download breaks the connection."""


@pytest.fixture
def serve_task(file_server, tmp_path_factory, monkeypatch):
    """A function that puts small networks of a task of the catalog onto the server, from where they are downloaded."""

    def serve(task_name: str) -> FileServer:
        from TuckerSegLib.catalog.entries import task

        root = write_networks(tmp_path_factory.mktemp("published"), task_name)
        for part in task(task_name).parts:
            archive = shutil.make_archive(str(root / part.dataset), "zip", root, part.dataset)
            file_server.files[f"/{part.dataset}.zip"] = Path(archive).read_bytes()
        monkeypatch.setenv("TUCKERSEG_DOWNLOAD_URL", file_server.url)
        return file_server

    return serve


@pytest.fixture
def file_server():
    """A running server; its ``url`` ends without a slash."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.behavior = FileServer(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.behavior
    server.behavior.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def certificate(tmp_path):
    """A key and a certificate of its own for 127.0.0.1."""
    key, file = tmp_path / "key.pem", tmp_path / "certificate.pem"
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    arguments = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    arguments += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", file]
    subprocess.run(arguments, check=True, capture_output=True)
    return key, file


def _architecture(residual: bool) -> tuple[str, dict]:
    module = "dynamic_network_architectures.architectures."
    kwargs = {
        "n_stages": 3,
        "features_per_stage": [8, 16, 32],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    if residual:
        return module + "unet.ResidualEncoderUNet", {**kwargs, "n_blocks_per_stage": [1, 1, 1]}
    return module + "unet.PlainConvUNet", {**kwargs, "n_conv_per_stage": [1, 1, 1]}
