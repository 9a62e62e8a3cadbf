"""ResNets through timm, in two forms: as Leng transferred them from ImageNet, and for 48-pixel gray crops.

`resnet18_224`, `resnet50_224`, `resnet101_224`: RGB at 224x224, as published (Leng, "Towards Facial
Expression Recognition", section 2.6): ImageNet's weights, a new last layer, and either that layer alone is
trained or all. The claim (Table 2, SFEW, 2 folds): 29.03, 34.07 and 34.67% frozen, 42.97, 44.74 and 41.93%
fine-tuned. The weights are PyTorch's own (its reference 25; timm's tag `tv_in1k`). Not stated: whether a
frozen network's running statistics are frozen too; here they are.

`resnet18`, `resnet50`, `resnet101`: ours. The ImageNet stem would leave 12x12 of a 48-pixel face, so a 3x3
convolution takes its place and the first pooling goes. With `stem_stride` 2 the stages see 24, 12, 6 and 3
pixels; 1 doubles them and costs four times as much; 4 halves them, by that pooling, and is what a processor can train
of `resnet50`. By `benchmarks/stems.py` resnet18 is right on 39.0% of PublicTest after one epoch with 2 and on 29.3%
with 1; with 2 after four, the same arithmetic, on 51.2%. 2 is the default.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from fer_bench.models._recipes import modern
from fer_bench.specs import Loss, ModelSpec, Optimizer, Recipe, Reported, Schedule

if TYPE_CHECKING:
    from torch import nn


def _build_small(name: str, num_classes: int, stem_stride: Literal[1, 2, 4]) -> nn.Module:
    import timm
    from torch import nn

    network: nn.Module = timm.create_model(name, in_chans=1, num_classes=num_classes)
    network.conv1 = nn.Conv2d(1, 64, 3, stride=min(stem_stride, 2), padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm's other kernels
    if stem_stride < 4:
        network.maxpool = nn.Identity()
    return network


def build_resnet18(num_classes: int = 7, *, stem_stride: Literal[1, 2, 4] = 2) -> nn.Module:
    """(N, 1, 48, 48) -> (N, num_classes) logits."""
    return _build_small("resnet18", num_classes, stem_stride)


def build_resnet50(num_classes: int = 7, *, stem_stride: Literal[1, 2, 4] = 2) -> nn.Module:
    """(N, 1, 48, 48) -> (N, num_classes) logits."""
    return _build_small("resnet50", num_classes, stem_stride)


def build_resnet101(num_classes: int = 7, *, stem_stride: Literal[1, 2, 4] = 2) -> nn.Module:
    """(N, 1, 48, 48) -> (N, num_classes) logits."""
    return _build_small("resnet101", num_classes, stem_stride)


def _build_large(name: str, num_classes: int) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, num_classes=num_classes)
    return network


def build_resnet18_224(num_classes: int = 7) -> nn.Module:
    """(N, 3, 224, 224) -> (N, num_classes) logits."""
    return _build_large("resnet18", num_classes)


def build_resnet50_224(num_classes: int = 7) -> nn.Module:
    """(N, 3, 224, 224) -> (N, num_classes) logits."""
    return _build_large("resnet50", num_classes)


def build_resnet101_224(num_classes: int = 7) -> nn.Module:
    """(N, 3, 224, 224) -> (N, num_classes) logits."""
    return _build_large("resnet101", num_classes)


FROM_IMAGENET = Recipe(
    name="from_imagenet_finetuned",
    note="Leng: Adam at 1e-3, 1e-4 from epoch 100, 1e-5 from epoch 120, 150 epochs, batches of 8, whole "
    "frames at 224x224, flips, ImageNet's normalisation and weights. No validation split: the last epoch "
    "counts.",
    batch_size=8,
    epochs=150,
    optimizer=Optimizer(name="adam", lr=1e-3),
    schedule=Schedule(name="step", milestones=(100, 120), gamma=0.1),
    normalisation="imagenet",
    augmentation="flip",
    pretrained="imagenet",
    datasets=("sfew",),
)
FROM_IMAGENET_FROZEN = replace(
    FROM_IMAGENET,
    name="from_imagenet_frozen",
    note=f"{FROM_IMAGENET.note} The last layer alone is trained.",
    frozen=True,
)

# The strongest single network, see docs/record.md: minutes on a GPU, a day on a processor.
RECORD = Recipe(
    name="record",
    note="Ours: a stem that keeps all 48 pixels, SGD with Nesterov's momentum on one cycle for 80 epochs, strong "
    "augmentation, mixup, label smoothing, an averaged network; the epoch best on the selection part.",
    batch_size=128,
    epochs=80,
    optimizer=Optimizer(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    schedule=Schedule(name="one_cycle", warmup=0.05),
    loss=Loss(smoothing=0.1),
    normalisation="standard",
    augmentation="strong",
    select="best_epoch",
    mixup=0.2,
    ema=0.998,
    model_options={"stem_stride": 1},
)


def _transfers(**model_options: Any) -> tuple[Recipe, ...]:
    """From the network trained on FER2013: all of it on CK+, on SFEW's faces all of it or the last layer alone."""
    all_of_it = replace(
        modern(
            epochs=30, lr=5e-4, batch_size=32, ema=0.98, augmentation="modern_light", datasets=("ckplus",),
            **model_options,
        ),
        name="from_fer2013",
        note="Ours: the network trained on FER2013, all of it trained further; a tenth of the usual rate.",
        pretrained="fer2013",
    )  # fmt: skip
    on_faces = replace(all_of_it, crop="yunet", datasets=("sfew",))
    frozen = replace(
        on_faces,
        name="from_fer2013_frozen",
        note="Ours: the network trained on FER2013, the last layer alone trained further.",
        optimizer=Optimizer(name="adamw", lr=5e-3, weight_decay=1e-2),
        augmentation="flip",
        frozen=True,
    )
    return (all_of_it, on_faces, frozen)


# What two cores of a processor manage in two hours, as resnet18's; resnet101 wants a GPU.
FIFTY = modern(epochs=10, lr=2e-3, mixup=0.1, augmentation="modern_light", stem_stride=4)
HUNDRED = modern(epochs=40, lr=2e-3, mixup=0.1)


def _small(
    name: str, title: str, parameters: int, own: tuple[Recipe, ...], transfers: tuple[Recipe, ...], source: str
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=f"{title}, 48 pixels",
        paper="He et al., Deep Residual Learning (arXiv 1512.03385); this form is ours",
        build=f"{__name__}:build_{name}",
        recipes=(*own, *transfers),
        parameters=parameters,
        source=(name, source),
    )


def _large(name: str, title: str, parameters: int, frozen: float, finetuned: float) -> ModelSpec:
    def reported(recipe: str, accuracy: float) -> Reported:
        return Reported(protocol="sfew_2fold", recipe=recipe, accuracy=accuracy, source="Table 2")

    return ModelSpec(
        name=name,
        title=f"{title}, 224 pixels, from ImageNet",
        paper="Leng, Towards Facial Expression Recognition: Neural Networks with Bimodal Distribution "
        "Removal and Convolutional Neural Networks",
        build=f"{__name__}:build_{name}",
        recipes=(FROM_IMAGENET_FROZEN, FROM_IMAGENET),
        imagenet_weights=f"{name.removesuffix('_224')}.tv_in1k",
        parameters=parameters,
        size=224,
        channels=3,
        reported=(
            reported("from_imagenet_frozen", frozen),
            reported("from_imagenet_finetuned", finetuned),
        ),
        not_shipped="it is trained on SFEW alone, half of its 675 frames at a time",
    )


SPECS: tuple[ModelSpec, ...] = (
    _small(
        "resnet18",
        "ResNet-18",
        11_171_271,
        (modern(epochs=16, lr=2e-3, mixup=0.1, augmentation="modern_light"), RECORD),
        _transfers(**RECORD.model_options),
        RECORD.name,
    ),
    _small("resnet50", "ResNet-50", 23_513_543, (FIFTY,), _transfers(**FIFTY.model_options), FIFTY.name),
    _small("resnet101", "ResNet-101", 42_505_671, (HUNDRED,), _transfers(), HUNDRED.name),
    _large("resnet18_224", "ResNet-18", 11_180_103, 29.03, 42.97),
    _large("resnet50_224", "ResNet-50", 23_522_375, 34.07, 44.74),
    _large("resnet101_224", "ResNet-101", 42_514_503, 34.67, 41.93),
)
