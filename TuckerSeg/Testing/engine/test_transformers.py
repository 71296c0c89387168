"""nnU-Net's transformers are read, counted, run and exported as its U-Nets are, and give its labels."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from Testing.engine.nnunet_transformers import nnunet_module, nnunet_transformer
from Testing.small_models import transformer_architecture
from TuckerSegLib import InferenceSpec, TuckerSpec, compress, load_model, segment
from TuckerSegLib.compression.cost import count
from TuckerSegLib.errors import ModelFolderError, UnsupportedModelError
from TuckerSegLib.export.nnunet_folder import export
from TuckerSegLib.export.settings import ExportSettings
from TuckerSegLib.hardware.openvino_convert import to_model
from TuckerSegLib.models.calibration import crop_shape
from TuckerSegLib.nnunet.network import build_network
from TuckerSegLib.nnunet.network_arguments import check_architecture
from TuckerSegLib.nnunet.plans import Architecture
from TuckerSegLib.nnunet.reading import read_plans
from TuckerSegLib.nnunet.transformers import _TRAINERS, _WIDTHS, trainers_transformer

EXACT = InferenceSpec(precision="fp32", device="torch:cpu")
NAMES = ("Primus", "PrimusV2", "PrimusV3")


def built(name: str, seed: int = 0, **settings) -> torch.nn.Module:
    """A small transformer for patches of 16 voxels, whose weights are all random."""
    class_name, kwargs = transformer_architecture(name, (16, 16, 16))
    network = build_network(Architecture(class_name, {**kwargs, **settings}, ()), 1, 3)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


@torch.inference_mode()
def logits_of(network: torch.nn.Module, side: int = 16) -> torch.Tensor:
    return network(torch.randn(1, 1, side, side, side, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in NAMES),
        ("Primus", {"num_register_tokens": 2, "init_values": None, "scale_attn_inner": False, "mlp_ratio": 2.0}),
        ("Primus", {"use_rot_pos_emb": False, "patch_embed_size": [4, 8, 4]}),
        ("Primus", {"use_abs_pos_embed": False, "proj_drop_rate": 0.1, "attn_drop_rate": 0.1}),
    ],
    ids=str,
)
def test_a_network_gives_the_logits_of_nnunets_own_class(name, settings):
    ours = built(name, **settings)
    kwargs = {**transformer_architecture(name, (16, 16, 16))[1], **settings}
    theirs = nnunet_transformer(name)(input_channels=1, num_classes=3, **kwargs).eval()
    theirs.load_state_dict(ours.state_dict())
    expected = logits_of(theirs)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits_of(ours), expected, rtol=1e-5, atol=1e-6)


def test_a_trainers_name_builds_what_the_trainer_builds():
    trainers = nnunet_module("nnunetv2.training.nnUNetTrainer.primus.primus_trainers")
    known = {name for name in vars(trainers) if name.startswith("nnUNet_Primus")}
    assert known == set(_TRAINERS)

    class Configuration:
        patch_size = (32, 32, 32)

    configurations = vars(nnunet_module("dynamic_network_architectures.architectures.primus"))["_PRIMUS_CONFIGS"]
    assert {size: tuple(each.values()) for size, each in configurations.items()} == {
        size: (depth, heads, width) for size, (width, depth, heads) in _WIDTHS.items()
    }
    for name in (*(f"nnUNet_Primus_{size}_Trainer" for size in "BL"), *(f"nnUNet_PrimusV{v}S_Trainer" for v in (2, 3))):
        with torch.device("meta"):
            theirs = getattr(trainers, name).build_network_architecture(None, Configuration, 2, 5, False)
            ours = build_network(Architecture(*trainers_transformer(name, Configuration.patch_size), ()), 2, 5)
        shapes = [{key: tuple(value.shape) for key, value in each.state_dict().items()} for each in (theirs, ours)]
        assert shapes[0] == shapes[1], name


def test_a_checkpoint_of_such_a_trainer_is_read_although_its_plans_say_something_else(make_model_folder):
    folder = make_model_folder()
    plans, dataset = (json.loads((folder / f"{name}.json").read_text()) for name in ("plans", "dataset"))
    facts = read_plans(plans, dataset, {"trainer_name": "nnUNet_Primus_S_Trainer"}, "small")
    assert facts.architecture.class_name.endswith("primus.Primus")
    sizes = {name: facts.architecture.kwargs[name] for name in ("embed_dim", "eva_depth", "eva_numheads")}
    assert sizes == {"embed_dim": 396, "eva_depth": 12, "eva_numheads": 6}
    usual = read_plans(plans, dataset, {"trainer_name": "nnUNetTrainer"}, "small")
    assert usual.architecture.class_name.endswith("PlainConvUNet")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": 20}, "embed_dim should be a multiple of 12"),
        ({"embed_dim": 24.0}, "embed_dim should be a whole number"),
        ({"embed_dim": 10**6}, "embed_dim should be a whole number from 1 to"),
        ({"eva_depth": 0}, "eva_depth"),
        ({"patch_embed_size": [8, 8]}, "patch_embed_size should be a list of 3"),
        ({"patch_embed_size": [8, 8, 6]}, "powers of two"),
        ({"input_shape": [32, 32, 32]}, r"patch_size, \(16, 16, 16\)"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio"),
        ({"init_values": "0.1"}, "init_values"),
        ({"scale_attn_inner": 1}, "scale_attn_inner should be true or false"),
        ({"rope_impl": "os.system"}, "'rope_impl' is no argument of Primus"),
        ({"decoder_norm": "os.system"}, "is no argument"),
        ({"ch_per_level": [8, 8]}, "is no argument"),
    ],
    ids=str,
)
def test_an_argument_that_makes_no_sense_is_refused_by_its_name(settings, message):
    class_name, kwargs = transformer_architecture("Primus", (16, 16, 16))
    with pytest.raises((ModelFolderError, UnsupportedModelError), match=message):
        check_architecture(class_name, {**kwargs, **settings}, (), (16, 16, 16))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("PrimusV2", {"patch_embed_size": [4, 4, 4]}, "8 along each axis"),
        ("PrimusV3", {"depth_per_level": [1, 1]}, "ch_per_level should be a list of 3"),
        ("PrimusV3", {"depth_per_level": [1, 1], "ch_per_level": [8, 8, 8]}, "4 along each axis"),
    ],
)
def test_cells_that_an_embedding_cannot_make_are_refused(name, settings, message):
    class_name, kwargs = transformer_architecture(name, (16, 16, 16))
    with pytest.raises(ModelFolderError, match=message):
        check_architecture(class_name, {**kwargs, **settings}, (), (16, 16, 16))


def test_a_patch_that_is_not_made_of_cells_is_refused(make_model_folder):
    folder = make_model_folder(transformer="Primus")
    plans = json.loads((folder / "plans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration["patch_size"] = configuration["architecture"]["arch_kwargs"]["input_shape"] = [36, 32, 32]
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFolderError, match=r"input_shape should be multiples of \(8, 8, 8\)"):
        load_model(folder)


def test_linear_layers_and_both_products_of_attention_are_counted():
    width, depth, hidden, tokens, classes = 24, 4, 64, 8, 3
    projections = tokens * (4 * width**2 + 3 * width * hidden)
    products = 2 * tokens**2 * width
    embedding = tokens * width * 8**3
    layers = built("Primus").up_projection.modules()
    widths = [width, *(layer.out_channels for layer in layers if isinstance(layer, torch.nn.ConvTranspose3d))]
    decoding = sum(tokens * 8**stage * widths[stage] * widths[stage + 1] * 8 for stage in range(3))
    assert widths[-1] == classes
    cost = count(built("Primus"), (16, 16, 16))
    assert cost.total.macs == embedding + depth * (projections + products) + decoding
    assert cost.layers["eva.blocks.0.attn"].macs == products
    assert cost.layers["eva.blocks.0.mlp.fc1_x"].macs == tokens * width * hidden


def test_openvino_computes_the_same():
    import openvino

    network = built("Primus", num_register_tokens=1, eva_depth=1)
    model = to_model(network, (1, 1, 16, 16, 16), "f32", lambda _: None, channels_last=False)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    patch = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.from_numpy(compiled(patch.numpy())[0]), logits_of(network), rtol=1e-4, atol=1e-4)


class TestAModelOfATransformer:
    @pytest.fixture
    def folder(self, make_model_folder):
        return make_model_folder(transformer="Primus")

    def test_gives_the_labels_of_nnunets_predictor(self, folder, oblique_ct, nnunet_labels, assert_equal_labels):
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        plans, dataset = (json.loads((folder / f"{name}.json").read_text()) for name in ("plans", "dataset"))
        weights = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
        kwargs = transformer_architecture("Primus")[1]
        theirs = nnunet_transformer("Primus")(input_channels=1, num_classes=len(dataset["labels"]), **kwargs).eval()
        manager = PlansManager(plans)
        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        predictor.manual_initialization(
            theirs, manager, manager.get_configuration("3d_fullres"), [weights], dataset, "nnUNetTrainer", None
        )
        expected = nnunet_labels(predictor, [oblique_ct])
        assert_equal_labels(segment(str(oblique_ct), load_model(folder), EXACT).labels, expected)

    def test_is_run_by_nnunet_when_it_was_exported(
        self, folder, oblique_ct, nnunet_predictor, nnunet_labels, assert_equal_labels, tmp_path
    ):
        model = compress(load_model(folder), TuckerSpec.paper(0.5))
        assert model.cost.macs < model.original_cost.macs
        place = export(model, tmp_path / "results", ExportSettings()).place
        expected = nnunet_labels(nnunet_predictor(place), [oblique_ct])
        for written in (model, load_model(place)):
            assert_equal_labels(segment(str(oblique_ct), written, EXACT).labels, expected)

    def test_is_the_same_when_it_was_saved(self, folder, tmp_path):
        model = load_model(folder)
        assert model.head_path is None
        model.save(tmp_path / "model.tuckerseg")
        saved = load_model(tmp_path / "model.tuckerseg")
        assert saved.weights.keys() == model.weights.keys()
        assert not [name for name in model.weights if name.endswith("rotation")]
        assert torch.equal(logits_of(saved.network("0"), 32), logits_of(model.network("0"), 32))

    def test_lacks_no_weight_and_has_no_other(self, folder):
        file = folder / "fold_0" / "checkpoint_final.pth"
        checkpoint = torch.load(file, weights_only=False)
        for change in ("lacks", "has"):
            damaged = copy.deepcopy(checkpoint)
            if change == "lacks":
                del damaged["network_weights"]["eva.blocks.0.attn.q_proj.bias"]
            else:
                damaged["network_weights"]["eva.rotation"] = torch.zeros(2, 64, 12)
            torch.save(damaged, file)
            with pytest.raises(ModelFolderError, match=r"q_proj\.bias is missing|'eva\.rotation' is not part"):
                load_model(folder)


def test_crops_are_patches_of_the_one_shape_that_it_takes(make_model_folder):
    model = load_model(make_model_folder(transformer="Primus", patch_shape=(16, 16, 160)))
    assert crop_shape(model) == (16, 16, 160)
