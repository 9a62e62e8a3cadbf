"""What `run --all` runs: one table, cheapest models first."""

from __future__ import annotations

from dataclasses import dataclass

from fer_bench import registry
from fer_bench.errors import FerBenchError
from fer_bench.protocols import get_protocol


@dataclass(frozen=True)
class Entry:
    """Models and the recipes that they run on FER2013, on both CK+ protocols and on both SFEW protocols."""

    models: tuple[str, ...]
    fer2013: tuple[str, ...] = ()
    ckplus: tuple[str, ...] = ()
    sfew: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of the suite. `missing` says why it can't run; empty if it can."""

    model: str
    recipe: str
    protocol: str
    missing: str = ""


TABLE = (
    Entry(("nearest_neighbour",), ("paper",), ("paper",), ("paper",)),
    Entry(("lda", "qda", "logreg"), ("paper",)),
    Entry(("leng_svm",), sfew=("paper", "own_features")),
    Entry(
        ("leng_mlp",),
        sfew=tuple(
            f"{features}{variant}"
            for features in ("paper", "own_features")
            for variant in ("", "_bdr", "_normalised", "_normalised_bdr")
        ),
    ),
    Entry(("attentional_cnn", "attentional_cnn_wide"), ("paper", "no_transformer", "fer_bench")),
    Entry(("attentional_cnn", "lin_shi"), ("distilled",)),
    Entry(("marrugat_1", "marrugat_2", "marrugat_3", "marrugat_4"), ("paper", "fer_bench")),
    Entry(("ranjan_1",), ("paper", "l2svm", "fer_bench"), ("paper", "l2svm", "fer_bench")),
    Entry(("lin_shi",), ("paper", "no_batch_norm", "no_dropout", "fer_bench"), ("fer_bench",)),
    Entry(("hog_cnn_2", "hog_cnn_4"), ("paper", "no_hog", "fer_bench")),
    Entry(("ranjan_2",), ("paper", "no_augment", "l2svm", "fer_bench"), ("paper", "l2svm", "fer_bench")),
    Entry(("ranjan_2_forest",), ("paper",)),
    Entry(("leng_cnn",), sfew=("paper", "face_crop")),
    Entry(("resnet18",), ("fer_bench", "record"), ("from_fer2013",), ("from_fer2013_frozen", "from_fer2013")),
    Entry(("resnet50",), ("fer_bench",), (), ("from_fer2013_frozen", "from_fer2013")),
    Entry(
        ("resnet18_224", "resnet50_224", "resnet101_224"),
        sfew=("from_imagenet_frozen", "from_imagenet_finetuned"),
    ),
)

PROTOCOLS_OF = {
    "fer2013": ("fer2013",),
    "ckplus": ("ckplus_random", "ckplus_subject"),
    "sfew": ("sfew_2fold", "sfew_2fold_movie"),
}


def missing(model: str, recipe: str, protocol: str) -> str:
    """Why a combination can't run, or an empty string."""
    try:
        registry.get_spec(model).recipe(recipe, get_protocol(protocol).dataset)
    except FerBenchError:
        return f"{model} has no recipe {recipe} for {protocol}"
    return ""


def rows() -> list[Row]:
    """Every row of the table, in its order."""
    return [
        Row(model, recipe, protocol, missing(model, recipe, protocol))
        for entry in TABLE
        for dataset, protocols in PROTOCOLS_OF.items()
        for protocol in protocols
        for model in entry.models
        for recipe in getattr(entry, dataset)
    ]


def synthetic_rows() -> list[Row]:
    """The table's models and recipes on the embedded data: what runs where no real data is found."""
    pairs = dict.fromkeys((row.model, row.recipe) for row in rows())
    return [Row(model, recipe, "synthetic", missing(model, recipe, "synthetic")) for model, recipe in pairs]
