"""The stand-ins have the real networks' size, are folders nnU-Net reads, and lose nothing at rank 1/3."""

import json

import pytest
import torch

from TuckerSegLib import catalog
from TuckerSegLib.benchmark import standin
from TuckerSegLib.benchmark.standin import standin_dataset, standin_folders, standin_plans, standin_seed, write_standin
from TuckerSegLib.benchmark.standin_weights import standin_network
from TuckerSegLib.errors import OutputError, SpecError

pytestmark = pytest.mark.slow

FAST = catalog.task("total_fast").parts[0]
TOTAL = catalog.task("total").parts


def build(task, part):
    return standin_network(standin_plans(task, part), standin_dataset(task, part), standin_seed(part))


def counted(network):
    """Parameters but for the heads of deep supervision, which are stored and never run; published counts omit them."""
    last = f"seg_layers.{len(network.decoder.stages) - 1}."
    return sum(p.numel() for name, p in network.named_parameters() if "seg_layers" not in name or last in name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_standin(tmp_path_factory.mktemp("results"))[0]


@pytest.fixture(scope="module")
def network():
    return build("total_fast", FAST)


@pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format")
def test_nnunet_reads_the_folder_and_builds_the_network_of_16_55_million_parameters(folder, network):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(json.loads((folder / "plans.json").read_text()))
    configuration = plans.get_configuration("3d_fullres")
    labels = plans.get_label_manager(json.loads((folder / "dataset.json").read_text()))
    assert configuration.patch_size == [112, 112, 128]
    assert configuration.network_arch_init_kwargs["features_per_stage"] == [32, 64, 128, 256, 320]
    assert labels.num_segmentation_heads == 118
    checkpoint = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=True)
    network.load_state_dict(checkpoint["network_weights"])
    assert round(counted(network) / 1e6, 3) == 16.551  # Tucker paper, arXiv:2404.09683


@pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format")
def test_the_five_parts_have_31_2_million_parameters_and_the_classes_of_their_part():
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    heads = [len(standin_dataset("total", part)["labels"]) for part in TOTAL]
    assert heads == [25, 27, 19, 24, 27]
    ribs = standin_dataset("total", TOTAL[4])["labels"]
    assert (ribs["background"], ribs["rib_left_1"], ribs["costal_cartilages"]) == (0, 1, 26)
    plans = standin_plans("total", TOTAL[0])
    configuration = PlansManager(plans).get_configuration("3d_fullres")
    assert configuration.patch_size == [128, 128, 128] and configuration.spacing == [1.5, 1.5, 1.5]
    assert configuration.network_arch_init_kwargs["features_per_stage"] == [32, 64, 128, 256, 320, 320]
    assert round(counted(build("total", TOTAL[0])) / 1e6, 3) == 31.195  # arXiv:2404.09683


def test_no_two_parts_have_the_same_seed():
    assert [standin_seed(part) for part in (*TOTAL, FAST)] == [291, 292, 293, 294, 295, 297]


def test_a_task_without_a_standin_is_an_error_that_names_those_that_have_one(tmp_path):
    with pytest.raises(SpecError, match="total, total_fast"):
        write_standin(tmp_path, "total_mr")


def test_the_plans_are_of_the_old_kind(folder):
    configuration = json.loads((folder / "plans.json").read_text())["configurations"]["3d_fullres"]
    assert "architecture" not in configuration and configuration["UNet_class_name"] == "PlainConvUNet"


def test_the_labels_are_totalsegmentators(folder):
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    assert len(labels) == 118 and labels["spleen"] == 1 and labels["costal_cartilages"] == 117


def test_every_kernel_but_the_first_has_a_quarter_of_the_ranks_and_he_deviation(network):
    kernels = [
        module
        for name, module in network.encoder.named_modules()
        if isinstance(module, torch.nn.Conv3d) and name.endswith(".conv") and module.in_channels > 1
    ][:3]
    assert len(kernels) == 3
    for module in kernels:
        weight = module.weight.detach()
        assert torch.linalg.matrix_rank(weight.flatten(1)) == module.out_channels // 4
        assert torch.linalg.matrix_rank(weight.transpose(0, 1).flatten(1)) == module.in_channels // 4
        assert weight.std() == pytest.approx((2 / (module.in_channels * 27)) ** 0.5, rel=1e-4)


def test_an_existing_folder_is_kept(folder):
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    before = checkpoint.stat().st_mtime_ns
    assert write_standin(folder.parents[1]) == (folder,) and checkpoint.stat().st_mtime_ns == before


def test_a_half_written_checkpoint_is_not_taken_for_a_whole_one(network, tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "standin_network", lambda *_: network)
    half = standin_folders(tmp_path)[0] / "fold_0" / "checkpoint_final.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    write_standin(tmp_path)
    assert torch.load(half.with_suffix(".pth"), weights_only=True)["trainer_name"] == "nnUNetTrainer"


def test_the_weights_are_the_same_every_time_and_the_random_state_is_left_alone(folder):
    torch.rand(1)  # else the state could be where building the network leaves it
    state = torch.random.get_rng_state()
    again = build("total_fast", FAST)
    assert torch.equal(torch.random.get_rng_state(), state)
    stored = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=True)["network_weights"]
    assert all(torch.equal(stored[name], value) for name, value in again.state_dict().items())


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_standin(tmp_path / "file")
