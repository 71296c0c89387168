"""What a run of a network that is compressed and compiled already imports and reads, and that it changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from TuckerSegLib import Cache, InferenceSpec, Job, load_model, run_job
from TuckerSegLib.cli.parser import build_parser
from TuckerSegLib.hardware.openvino_converters import model_converter
from TuckerSegLib.image import read_image
from TuckerSegLib.models import model as models
from TuckerSegLib.models import task as tasks
from TuckerSegLib.models.resolved_job import resolve
from TuckerSegLib.nnunet.old_plans import with_architecture
from TuckerSegLib.preprocessing import roi_finder
from TuckerSegLib.records.job import Step, steps_at
from TuckerSegLib.segmentation.kept_head import kept_head

LIBRARY_FOLDER = Path(tasks.__file__).parents[2]
# Of the packages that other commands, first uses and other volumes need.
NOT_NEEDED = (
    "SimpleITK",
    "absl",
    "acvl_utils",
    "batchgenerators",
    "batchgeneratorsv2",
    "blosc2",
    "httpx",
    "matplotlib",
    "mpmath",
    "nibabel",
    "nnunetv2",
    "numpy.f2py",
    "onnx",
    "onnxruntime",
    "openvino.tools.ovc.convert",
    "openvino_telemetry",
    "pandas",
    "pydicom",
    "scipy",
    "skimage",
    "sympy",
    "tensorly",
    "torch._dynamo",
    "torch._inductor",
    "torch.fx.experimental.symbolic_shapes",
    "torch.onnx",
    "torchvision",
    "TuckerSegLib.analysis",
    "TuckerSegLib.benchmark",
    "TuckerSegLib.training.distillation.loop",
    "TuckerSegLib.training.finetuning.loop",
    "TuckerSegLib.hardware.openvino_convert",
    "TuckerSegLib.image.dicom",
    "TuckerSegLib.models.allocated",
    "TuckerSegLib.model_zoo.installing",
)
INFERENCE = InferenceSpec(device="openvino:cpu", precision="fp32", threads=1)


@pytest.fixture
def volume(tmp_path) -> Path:
    """A small volume of two patches on the network's grid, in which a body is found."""
    voxels = np.random.default_rng(0).normal(size=(20, 24, 40))
    voxels[:, :3] = voxels[:, -3:] = -5  # air
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image((voxels * 200).astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0])), path)
    return path


@pytest.fixture
def job(volume, make_model_folder) -> Job:
    """A compressed network whose classes outnumber its features, with plans as TotalSegmentator's are."""
    folder = make_model_folder(
        old_plans=True, folds=("0", "1"), labels={"background": 0} | {f"s{n}": n for n in range(1, 20)}
    )
    return Job((str(volume),), model=str(folder), inference=INFERENCE, calibrate="none", steps=steps_at(0.5))


def test_a_run_of_a_compiled_network_imports_nothing_that_it_does_not_need(job, volume, tmp_path, monkeypatch):
    bodies, find_body = [], roi_finder.find_body
    monkeypatch.setattr(roi_finder, "find_body", lambda *volume: bodies.append(find_body(*volume)) or bodies[-1])
    first, output = run_job(job), tmp_path / "labels.nii.gz"
    command = [sys.executable, "-X", "importtime", "-m", "TuckerSegLib", "segment", str(volume), str(output)]
    command += ["--model", job.model, "--rank", "0.5", "--calibrate", "none"]
    command += ["--device", "openvino:cpu", "--precision", "fp32", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY_FOLDER)}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"torch", "openvino", "TuckerSegLib.segmentation.segment"} <= imported
    families = {
        name[: len(unwanted)] for name in imported for unwanted in NOT_NEEDED if (name + ".").startswith(unwanted + ".")
    }
    assert not families
    np.testing.assert_array_equal(read_image(str(output)).array[0], first.labels)
    assert bodies and bodies[0].mask is not None


def test_a_first_run_does_not_import_sympy(job, monkeypatch):
    """Torch imports it, for a second, where it lays out a tensor like one on the meta device."""
    name = "compute_elementwise_output_logical_to_physical_perm"
    monkeypatch.setattr(torch._prims_common, name, lambda *_: pytest.fail("sympy would be imported"))
    run_job(job)


def test_a_run_of_what_the_cache_has_builds_no_network(job, monkeypatch):
    first = run_job(job)
    monkeypatch.setattr(models, "build_network", lambda *_: pytest.fail("a network was built"))
    np.testing.assert_array_equal(run_job(job).labels, first.labels)


def test_a_command_ends_after_what_is_to_be_done_at_its_end_without_taking_everything_apart():
    program = (
        "import atexit, gc, sys\n"
        "from TuckerSegLib.cli import main\n"
        "class Kept:\n"
        "    def __del__(self): print('taken apart')\n"
        "kept = Kept()\n"
        "code = main()\n"
        "atexit.register(lambda: print('done at the end,', 'much' if gc.get_freeze_count() else 'nothing', 'kept'))\n"
        "sys.exit(code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY_FOLDER)}
    for arguments, code, said in (
        (["cache"], 0, True),
        (["segment", "missing.nii.gz", "out.nii.gz", "--token-file", "f"], 1, False),
    ):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
        *answer, last = done.stdout.splitlines()
        assert (done.returncode, bool(answer), last) == (code, said, "done at the end, much kept"), done.stderr[-2000:]
        assert ("--server" in done.stderr) == bool(code)


def test_what_an_import_left_out_is_there_where_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino.tools.ovc", None)
    assert model_converter().__name__ == "convert_model"


def test_only_the_command_that_is_asked_for_gets_options():
    parsers = build_parser(["segment", "CT", "OUT"])._subparsers._group_actions[0].choices
    assert len(parsers["segment"]._actions) > 20
    assert {len(parser._actions) for name, parser in parsers.items() if name != "segment"} == {2}  # of all commands
    assert build_parser(["segment", "CT", "OUT"]).parse_args(["segment", "CT", "OUT"]).output == "OUT"


def test_a_user_s_network_that_is_compiled_runs_without_its_weights_being_read(job, monkeypatch):
    first = run_job(job)
    monkeypatch.setattr(tasks, "load_model", lambda *_: pytest.fail("weights were read"))
    again = run_job(job)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert len(np.unique(again.labels)) > 3
    assert again.statistics.notes == first.statistics.notes
    assert again.statistics.parts[0].key == first.statistics.parts[0].key


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:-3])])
def test_a_head_that_is_lost_or_damaged_is_taken_from_the_weights_again(job, damage, own_cache):
    first = run_job(job)
    heads = sorted(own_cache.rglob("*.head"))
    assert len(heads) == 2  # one per fold
    damage(heads[0])
    again = run_job(job)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert sorted(own_cache.rglob("*.head")) == heads


def test_a_kept_head_is_that_of_the_weights(job, own_cache):
    run_job(job)
    model, cache = load_model(job.model), Cache()
    cache.compiled_folder(model.key).mkdir(parents=True)
    kept_head(model, "1", cache, lambda: model)
    read = kept_head(model.without_weights(), "1", cache, lambda: pytest.fail("weights were read"))
    for kept, own in zip(read, model.head("1")):
        assert kept.equal(own)


def test_a_rank_of_1_is_no_step_so_that_the_original_starts_as_fast(job):
    spec = {"rank_ratio": 1.0, "rank_mode": "auto"}
    assert resolve(Job((), steps=(Step("tucker", spec),))).steps == ()
    for changed in ({"rank_ratio": 0.99}, {"rank_mode": "relative"}, {"keep_if_not_cheaper": False}):
        assert len(resolve(Job((), steps=(Step("tucker", spec | changed),))).steps) == 1


@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_old_plans_are_brought_to_today_s_form_as_nnunetv2_does_it(network):
    old = {
        "patch_size": [32, 48, 64],
        "UNet_class_name": network,
        "UNet_base_num_features": 32,
        "unet_max_num_features": 300,
        "n_conv_per_stage_encoder": [2, 1, 3, 2, 2],
        "n_conv_per_stage_decoder": [2, 2, 1, 2],
        "num_pool_per_axis": [4, 4, 3],
        "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 1]],
        "conv_kernel_sizes": [[3, 3, 3]] * 4 + [[1, 3, 3]],
        "spacing": [3.0, 3.0, 3.0],
    }
    before = {**old}
    ours = with_architecture(old)
    assert old == before
    assert ours == ConfigurationManager(old).configuration
