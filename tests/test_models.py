"""The contract that every registered model keeps, and the counts that the papers' tables state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_bench import registry
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.provenance import network_cost
from fer_bench.specs import Loss, ModelSpec, Optimizer, Recipe

SPECS = [registry.get_spec(name) for name in registry.list_models()]
TRAINED = [spec for spec in SPECS if all(recipe.estimator is None for recipe in spec.recipes)]
VARIANTS = [
    pytest.param(spec, recipe, id=f"{spec.name}-{recipe.name}")
    for spec in TRAINED
    for recipe in spec.recipes
    if recipe.model_options
]


def images(spec: ModelSpec, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, spec.channels, spec.size, spec.size, generator=generator)


def build(spec: ModelSpec, num_classes: int = 7) -> nn.Module:
    torch.manual_seed(0)
    return registry.build(spec, num_classes)


def fitted(spec: ModelSpec, x: Tensor) -> nn.Module:
    """In evaluation mode; a model of an estimator, which has no weights before, fitted to the images."""
    network = build(spec).eval()
    if spec not in TRAINED:
        cast(Any, network).fit(x, torch.arange(len(x)) % 7, **spec.recipes[0].estimator or {})
    return network


def kernels(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, weight) for name, weight in network.named_parameters() if weight.ndim > 1)


def running_statistics(network: nn.Module) -> int:
    return sum(
        buffer.numel() for name, buffer in network.named_buffers() if name.rpartition(".")[2].startswith("running_")
    )


@pytest.fixture(params=TRAINED, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    value: ModelSpec = request.param
    return value


def test_the_papers_models_are_registered() -> None:
    papers = {f"marrugat_{number}" for number in range(1, 5)} | {
        "lin_shi",
        "ranjan_1",
        "ranjan_2",
        "leng_cnn",
    }
    papers |= {"attentional_cnn", "attentional_cnn_wide", "hog_cnn_2", "hog_cnn_4"}
    papers |= {f"resnet{depth}{form}" for depth in (18, 50, 101) for form in ("", "_224")}
    papers |= {"lda", "qda", "logreg", "leng_svm", "leng_mlp"}
    assert papers <= {spec.name for spec in SPECS}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_cost_can_be_counted_before_anything_is_trained(spec: ModelSpec) -> None:
    parameters, multiply_adds = network_cost(spec, 7, {})
    assert parameters == spec.parameters and multiply_adds > 0


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec not in TRAINED], ids=lambda spec: spec.name)
def test_a_seed_changes_what_draws_numbers_and_nothing_else(spec: ModelSpec) -> None:
    x = images(spec, 28)
    answers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = registry.build(spec, 7).eval()
        cast(Any, network).fit(x, torch.arange(len(x)) % 7, **spec.recipes[0].estimator or {})
        with torch.no_grad():
            answers.append(network(x))
    assert torch.equal(*answers) != spec.seeded


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_counts_and_evaluation(spec: ModelSpec) -> None:
    x = images(spec, 2 if spec in TRAINED else 14)
    network = fitted(spec, x)
    assert sum(weight.numel() for weight in network.parameters() if weight.requires_grad) == spec.parameters
    if spec.keras_parameters is not None:
        assert spec.parameters + running_statistics(network) == spec.keras_parameters

    with torch.no_grad():
        logits = network(x)
        assert logits.shape == (len(x), 7) and logits.dtype == torch.float32 and logits.isfinite().all()
        assert torch.equal(network(x), logits), "evaluation is not deterministic"
        last = network(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(last, logits, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(logits[0], logits[1], rtol=1e-6), "the logits do not depend on the image"
        torch.testing.assert_close(network(x[1:]), logits[1:], rtol=1e-3, atol=1e-4)


def test_training_reaches_every_weight(spec: ModelSpec) -> None:
    """Within two steps: a transformer that starts as the identity, and zero norms, hide some in the first."""
    network = build(spec, num_classes=8).train()
    x, targets = images(spec), torch.tensor([0, 7])
    reached: set[str] = set()
    for _ in range(2):
        network.zero_grad()
        logits = network(x)
        assert logits.shape == (2, 8)
        loss = functional.cross_entropy(logits, targets)
        assert math.isfinite(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        for name, weight in network.named_parameters():
            assert weight.grad is not None, f"{name} has no gradient"
            assert weight.grad.isfinite().all(), name
            if weight.grad.any():
                reached.add(name)
        with torch.no_grad():
            for weight in network.parameters():
                assert weight.grad is not None
                weight.sub_(weight.grad, alpha=0.01)
    assert not {name for name, _ in kernels(network)} - reached


@pytest.mark.parametrize(("spec", "recipe"), VARIANTS)
def test_variants_build_and_differ(spec: ModelSpec, recipe: Recipe) -> None:
    variant = registry.build(spec, 7, **recipe.model_options).eval()
    with torch.no_grad():
        assert variant(images(spec)).shape == (2, 7)
    assert repr(variant) != repr(build(spec))


@pytest.mark.parametrize("registered", SPECS, ids=lambda spec: spec.name)
def test_recipes(registered: ModelSpec) -> None:
    keys = [(recipe.name, data) for recipe in registered.recipes for data in recipe.datasets or ("",)]
    assert len(set(keys)) == len(keys)
    names = {recipe.name for recipe in registered.recipes}
    assert {reported.recipe for reported in registered.reported} <= names
    for recipe in registered.recipes:
        assert recipe.note
        if recipe.name == "fer_bench" and registered.size == 48:
            assert recipe.epochs is not None and recipe.epochs <= 60


RECIPE = Recipe(name="paper", note="", batch_size=1, epochs=1, optimizer=Optimizer(name="sgd", lr=1.0))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"steps": 5}, "give exactly one of epochs, steps and estimator"),
        ({"epochs": None}, "give exactly one of"),
        ({"estimator": {}}, "give exactly one of"),
        ({"epochs": None, "estimator": {}}, "batch_size and optimizer go with epochs or steps"),
        ({"batch_size": None}, "batch_size and optimizer go with"),
        ({"optimizer": None}, "batch_size and optimizer go with"),
        ({"patience": 2}, "patience needs select='best_epoch'"),
        ({"input": "published_features"}, "published features need an estimator, and have no crop"),
        ({"teachers": ("lin_shi.paper",)}, "go together"),
        ({"taught": 0.3}, "go together"),
        ({"teachers": ("lin_shi.paper",), "taught": 0.7, "datasets": ("fer2013",)}, "up to 0.5"),
        ({"teachers": ("lin_shi",), "taught": 0.5, "datasets": ("fer2013",)}, "model.recipe"),
        ({"teachers": ("lin_shi.paper",), "taught": 0.5}, "FER2013's labels"),
        ({"teachers": ("lin_shi.paper",), "taught": 0.5, "loss": Loss(name="l2_svm")}, "cross-entropy"),
    ],
    ids=str,
)
def test_recipes_that_contradict_themselves(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(RECIPE, **changes)


def test_digests_are_pinned() -> None:
    """Records are found by them: a new field must not change those of the recipes that do not use it."""
    assert {name: registry.get_spec("lin_shi").recipe(name).digest() for name in ("paper", "no_dropout")} == {
        "paper": "8f40e6a7ca143be6",
        "no_dropout": "66645ef160d454b2",
    }
    fitted_at_once = Recipe(name="paper", note="", estimator={"C": 1.0})
    assert fitted_at_once.to_dict()["estimator"] == {"C": 1.0} and "input" not in fitted_at_once.to_dict()
    assert dataclasses.replace(fitted_at_once, input="published_features").digest() != fitted_at_once.digest()
    assert dataclasses.replace(fitted_at_once, estimator={"C": 2.0}).digest() != fitted_at_once.digest()


def spec_with(*recipes: Recipe) -> ModelSpec:
    return dataclasses.replace(registry.get_spec("lin_shi"), recipes=recipes)


def test_a_recipe_for_the_data_set_goes_before_the_general_one() -> None:
    special = dataclasses.replace(RECIPE, epochs=2, datasets=("ckplus",))
    for spec in (spec_with(RECIPE, special), spec_with(special, RECIPE)):
        assert spec.recipe("paper", "ckplus") is special
        assert spec.recipe("paper", "fer2013") is RECIPE
    assert spec_with(RECIPE, special).recipe("paper") is RECIPE
    assert special.digest() != RECIPE.digest()
    with pytest.raises(FerBenchError, match="'paper' of lin_shi is for ckplus, not for sfew"):
        spec_with(special).recipe("paper", "sfew")
    with pytest.raises(UnknownNameError, match="did you mean 'paper'"):
        spec_with(RECIPE).recipe("papr", "ckplus")


def test_lin_shi_convolutions_hold_480_192() -> None:
    """Its "less than 1% of the convolution parameters" counts these."""
    modules = registry.create_model("lin_shi").modules()
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 9
    assert sum(weight.numel() for module in convolutions for weight in module.parameters()) == 480_192


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("marrugat_1", [48, 24, 24, 12]),
        ("lin_shi", [48, 48, 48, 24, 24, 24, 24, 12, 12, 12, 12, 6]),
        ("ranjan_1", [46, 44, 22, 20, 18, 9, 7, 5, 2]),
        ("ranjan_2", [46, 46, 23, 23, 11, 11, 5, 5, 2]),
        ("leng_cnn", [160, 160, 80, 80, 80, 40, 40, 40, 20]),
    ],
)
def test_maps_follow_the_papers_tables(name: str, sides: list[int]) -> None:
    """The side of every map after a convolution or a pooling."""
    spec = registry.get_spec(name)
    seen: list[int] = []
    network = build(spec).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
    with torch.no_grad():
        network(images(spec))
    assert seen == sides


def test_an_untrained_transformer_changes_nothing() -> None:
    transformer = registry.create_model("attentional_cnn").eval()[0]  # type: ignore[index]
    x = images(registry.get_spec("attentional_cnn"))
    with torch.no_grad():
        torch.testing.assert_close(transformer(x), x, rtol=0, atol=1e-5)
        transformer.localisation[-1].bias.copy_(torch.tensor([-1.0, 0, 0, 0, 1, 0]))  # x -> -x mirrors
        torch.testing.assert_close(transformer(x), x.flip(-1), rtol=0, atol=1e-5)
        transformer.start_as_identity()
        torch.testing.assert_close(transformer(x), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("stride", "side"), [(1, 6), (2, 3), (4, 2)])
def test_resnet_stem(stride: int, side: int) -> None:
    network = registry.create_model("resnet18", stem_stride=stride)
    features = network.forward_features(torch.rand(1, 1, 48, 48))  # type: ignore[operator]
    assert features.shape == (1, 512, side, side)
