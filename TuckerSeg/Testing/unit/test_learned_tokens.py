"""Layers that learn which tokens leave, beside the choice that needs no training."""

from __future__ import annotations

import pytest
import torch

from TuckerSegLib.compression import tokens
from TuckerSegLib.compression.cost import count
from TuckerSegLib.compression.tokens.learned import CorrectedPassage
from TuckerSegLib.compression.tokens.passage import SparsePassage
from TuckerSegLib.compression.tokens.spec import Spec
from TuckerSegLib.errors import SpecError
from TuckerSegLib.nnunet.primus import Primus
from TuckerSegLib.nnunet.unetr import UNETR
from TuckerSegLib.records.compression import Cost
from TuckerSegLib.training.finetuning.settings import FineTuningSettings
from TuckerSegLib.training.finetuning.transformer_training import StochasticDepth, transformer_groups

LEARNED = Spec(0.5, agreement=0, learned=True, air=-0.5)


def small(kind: str = "Primus", registers: int = 0, width: int = 24, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "UNETR":
        network = UNETR(1, 3, (16, 32, 16), width, 4, 2, feature_size=4)
    else:
        sizes = {"embed_dim": width, "eva_depth": 4, "eva_numheads": 2, "patch_embed_size": (4, 4, 4)}
        network = Primus(1, 3, input_shape=(16, 32, 16), num_register_tokens=registers, **sizes, **settings)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return network.eval()


def passage_of(network: torch.nn.Module) -> torch.nn.Module:
    return next(iter(module for module in network.modules() if getattr(module, "runs_blocks", False)))


def sparse(network: torch.nn.Module, spec: Spec) -> torch.nn.Module:
    tokens.apply(network, tokens.plan(network, spec, (16, 32, 16)))
    return network.eval()


@pytest.fixture
def patch() -> torch.Tensor:
    patch = torch.randn(1, 1, 16, 32, 16, generator=torch.Generator().manual_seed(1))
    patch[..., 16:, :] = -1.0  # half of it is air
    return patch


@torch.no_grad()
@pytest.mark.parametrize("kind, registers", [("Primus", 0), ("Primus", 2), ("UNETR", 1)])
@pytest.mark.parametrize("air", [None, -0.5])
def test_before_a_training_it_gives_what_needs_none(patch, kind, registers, air):
    untrained = sparse(small(kind, registers), Spec(0.5, agreement=0, learned=True, air=air))
    free = sparse(small(kind, registers), Spec(0.5, agreement=0, air=air))
    assert isinstance(passage_of(untrained), CorrectedPassage) and isinstance(passage_of(free), SparsePassage)
    found, expected = untrained(patch), free(patch)
    if kind == "UNETR":  # whose decoder takes the completed sequence at every level
        found, expected = untrained.encoder(patch)[-1], free.encoder(patch)[-1]
    assert torch.allclose(found, expected, atol=1e-5)


@torch.no_grad()
def test_what_was_learned_is_added_to_scores_and_sequence(patch):
    network = sparse(small(), LEARNED)
    before, passage = network(patch), passage_of(network)
    passage.assembly.projection.bias.data += 1.0
    assert not torch.allclose(network(patch), before)
    passage.assembly.projection.bias.data -= 1.0
    for scorer in passage.scorers:
        scorer.layers[-1].weight.data += torch.randn(scorer.layers[-1].weight.shape) * 5
    assert not torch.allclose(network(patch), before)


def test_every_learning_layer_gets_a_gradient_once_it_has_begun(patch):
    network = sparse(small(), LEARNED)
    passage = passage_of(network).train()
    for last in (*(scorer.layers[-1] for scorer in passage.scorers), passage.assembly.projection):
        torch.nn.init.normal_(last.weight, std=0.1)
    network.requires_grad_(False)
    passage.requires_grad_(True)
    network(patch).square().mean().backward()
    silent = [name for name, parameter in passage.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert not silent


def test_the_plan_counts_what_is_added():
    network = small()
    before = count(network, (16, 32, 16)).total
    changes = tokens.plan(network, LEARNED, (16, 32, 16))
    saved = sum((change.before - change.after for change in changes), Cost(0, 0))
    network = sparse(network, LEARNED)
    assert before - saved == count(network, (16, 32, 16)).total
    own = sum(parameter.numel() for parameter in passage_of(network).parameters())
    assert changes[0].after.parameters == own > 0


def test_fresh_layers_are_always_the_same_and_leave_the_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = (sparse(small(), LEARNED) for _ in range(2))
    torch.manual_seed(5)
    old = small()
    torch.manual_seed(5)
    sparse(old, LEARNED)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters()))


def test_a_recipe_of_earlier_versions_says_nothing_of_learning():
    from TuckerSegLib.records.serialization import to_json

    assert "learned" not in to_json(Spec(0.5))
    (change, *_) = tokens.plan(small(), Spec(0.5, agreement=0), (16, 32, 16))
    assert set(change.details) == {"keep_ratio", "blocks", "air"}


def test_tokens_without_room_for_places_are_refused():
    with pytest.raises(SpecError, match="multiple of 6 channels; found 20"):
        sparse(small(width=20, use_rot_pos_emb=False), LEARNED)
    with pytest.raises(SpecError, match="learned must be true or false"):
        Spec(learned=1)


def groups_of(network: torch.nn.Module, **settings) -> dict[str, tuple[float, float]]:
    """Factor of the learning rate and weight decay of every parameter."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = transformer_groups(network, 1e-3, **settings)
    assert [each for group in groups for each in group["params"]] == list(names)  # in their order
    assert all(group["lr"] == pytest.approx(1e-3 * group["factor"]) for group in groups)
    return {names[each]: (group["factor"], group["weight_decay"]) for group in groups for each in group["params"]}


def test_shallow_layers_learn_slower_and_only_matrices_decay():
    found = groups_of(sparse(small(registers=1), LEARNED), layer_decay=0.5, weight_decay=0.05)
    expected = {
        "register_tokens": (0.5**5, 0.0), "eva.pos_embed": (0.5**5, 0.0), "down_projection.proj.weight": (0.5**5, 0.05),
        "eva.blocks.0.mlp.fc2.weight": (0.5**4, 0.05), "eva.blocks.0.norm1.weight": (0.5**4, 0.0),
        "eva.blocks.3.attn.q_proj.bias": (0.5, 0.0), "eva.norm.weight": (1.0, 0.0),
        "eva.passage.scorers.2.embed.weight": (1.0, 0.05), "eva.passage.assembly.layer_tokens": (1.0, 0.0),
        "eva.passage.assembly.block.proj.weight": (1.0, 0.05),
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    found = groups_of(small("UNETR"), layer_decay=0.5, weight_decay=0.05)
    expected = {
        "encoder.embedding.weight": (0.5**5, 0.05), "encoder.class_token": (0.5**5, 0.0),
        "encoder.blocks.3.qkv.weight": (0.5, 0.05), "decoder.head.weight": (1.0, 0.05),
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_what_blocks_add_is_left_out_the_deeper_the_more_often_and_never_when_it_runs(patch):
    network = small()
    expected = network(patch)
    depth = StochasticDepth(network, 0.9)
    assert torch.equal(network(patch), expected)
    torch.manual_seed(0)
    rows, added = torch.zeros(4000, 2, 24), torch.ones(4000, 2, 24)
    shares = []
    for block in network.train().eva.blocks:
        block.mlp.forward = lambda tokens: added
        output = block.mlp(rows)
        assert torch.equal(output[:, 0], output[:, 1])  # a whole sample
        shares.append(float((output == 0).float().mean()))
        assert float(output.mean()) == pytest.approx(1.0, abs=0.2)
        del block.mlp.forward
    assert shares == pytest.approx([0.0, 0.3, 0.6, 0.9], abs=0.05)
    depth.close()
    assert torch.equal(network(patch), expected)


def test_the_learning_rate_warms_up_and_falls_along_half_a_cosine():
    settings = FineTuningSettings(epochs=5, iterations=2, warm_up=1, schedule="cosine")
    assert [round(settings.rate_share(step), 3) for step in (0, 1, 2, 6, 9)] == [0.5, 1.0, 1.0, 0.5, 0.038]
    assert FineTuningSettings().rate_share(7) == 1.0
    for wrong in (
        {"schedule": "linear"}, {"warm_up": 50}, {"layer_decay": 0.0}, {"drop_path": 1.0}, {"weight_decay": -1.0}
    ):  # fmt: skip
        with pytest.raises(SpecError):
            FineTuningSettings(**wrong)
