"""Lin & Shi, Facial Expression Recognition with Deep Convolutional Neural Networks: a light VGG."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fer_bench.labels import FER2013
from fer_bench.leaderboard.rows import Row
from fer_bench.models._table import Conv, Pool
from fer_bench.models._table import Table as Layers
from fer_bench.models.lin_shi import TABLE
from fer_bench.report import figures
from fer_bench.report.measures import (
    CHANCE,
    HUMAN,
    LEVELS,
    accuracy,
    confusion,
    epoch_seconds,
    last,
    merged,
    most_frequent,
    percent,
    selected,
    share,
    tested,
    versus,
    words,
)
from fer_bench.report.paper import Claim, Claims, Figure, Finding, Measure, Note, Number, Paper, Ref, Table

LIGHT = Ref("lin_shi", "fer2013")
NO_NORM = Ref("lin_shi", "fer2013", "no_batch_norm")
NO_DROPOUT = Ref("lin_shi", "fer2013", "no_dropout")
LINEAR = tuple(Ref(name, "fer2013") for name in ("lda", "qda", "logreg"))

# Fig. 6: rows the true label, columns the predicted one.
FIG_6_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FIG_6 = (
    (0.49, 0.00, 0.13, 0.07, 0.11, 0.04, 0.16),
    (0.40, 0.24, 0.22, 0.02, 0.04, 0.00, 0.09),
    (0.14, 0.00, 0.37, 0.08, 0.16, 0.12, 0.14),
    (0.02, 0.00, 0.03, 0.86, 0.03, 0.03, 0.04),
    (0.10, 0.00, 0.17, 0.12, 0.32, 0.02, 0.27),
    (0.01, 0.00, 0.09, 0.09, 0.01, 0.76, 0.04),
    (0.05, 0.00, 0.06, 0.13, 0.11, 0.01, 0.63),
)
# Pramerdorfer and Kampel 2016 (arXiv 1612.02903), whose ensemble of modern CNNs is "the previously mentioned best".
BEST = 0.752
VGG19: Layers = sum(
    ((*[Conv(filters)] * count, Pool()) for filters, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))),
    start=(),
)

JOINED = {name: (name,) for name in FER2013.classes if name != "disgust"} | {"angry": ("angry", "disgust")}
# "happy, surprised and normal, which are not negative attitudes": surprise is counted as neutral.
ATTITUDES = {
    "positive": ("happy",),
    "neutral": ("neutral", "surprise"),
    "negative": ("angry", "disgust", "fear", "sad"),
}


def _convolutions(layers: Layers, channels: int = 1, size: int = 48) -> tuple[int, int]:
    """The weights and biases of a table's convolutions, and their multiply-adds for one picture."""
    weights = multiply_adds = 0
    for layer in layers:
        if isinstance(layer, Conv):
            kernels = layer.kernel**2 * channels * layer.filters
            weights, multiply_adds = weights + kernels + layer.filters, multiply_adds + kernels * size**2
            channels = layer.filters
        elif isinstance(layer, Pool):
            size //= 2
    return weights, multiply_adds


def _light(_: Row) -> Finding:
    ours, vgg = _convolutions(TABLE)[0], _convolutions(VGG19, channels=3)[0]
    return Finding(
        f"{ours:,} of VGG19's {vgg:,} convolution weights and biases: {100 * ours / vgg:.1f}%.", ours / vgg < 0.01
    )


def _near_best(row: Row) -> Finding:
    part = row.accuracy / BEST
    return Finding(
        f"{percent(row.accuracy)} is {100 * part:.0f}% of Pramerdorfer and Kampel's {percent(BEST)}.", part >= 0.7
    )


def _seconds(row: Row) -> Finding:
    ours, vgg = _convolutions(TABLE)[1], _convolutions(VGG19)[1]
    return Finding(
        f"{epoch_seconds(row).value:.0f} s an epoch in the median ({row.first.device.name}, "
        f"{row.first.device.precision}). VGG19 is not timed here; at 48 pixels its convolutions need "
        f"{vgg / ours:.1f} times the multiply-adds."
    )


def _over_chance(row: Row) -> Finding:
    times = row.accuracy / CHANCE
    return Finding(f"{times:.1f} times a random guess's {percent(CHANCE)}.", times > 3.5)


def _like_people(row: Row) -> Finding:
    recalls = {name: share(row, name) for name in FER2013.classes}
    above = [f"{name} {100 * value.value:.0f}%" for name, value in recalls.items() if value.value > HUMAN]
    named = all(recalls[name].value > HUMAN for name in ("happy", "surprise", "neutral"))
    return Finding(f"Recalls above {percent(HUMAN)}: {words(above)}.", named)


def _disgust(row: Row) -> Finding:
    right, wrong = share(row, "disgust"), share(row, "disgust", "angry")
    n = int(confusion(row)[FER2013.classes.index("disgust")].sum() / len(row.runs))
    return Finding(
        f"Of {n} disgusted faces {100 * right.value:.0f}% are found and {100 * wrong.value:.0f}% taken for angry.",
        wrong.value > right.value,
    )


def _into_disgust(row: Row) -> Finding:
    column = confusion(row)[:, FER2013.classes.index("disgust")]
    taken = {n: int(k) for n, k in zip(FER2013.classes, column, strict=True) if k and n != "disgust"}
    if not column.any():
        return Finding("It never answers disgust.")
    return Finding(
        f"Taken for disgusted: {words([f'{count} {name}' for name, count in taken.items()])}.", set(taken) <= {"fear"}
    )


def _favourites(row: Row) -> Finding:
    counts = confusion(row).sum(axis=0)
    parts = counts / counts.sum()
    top = [FER2013.classes[i] for i in np.argsort(-parts, kind="stable")[:2]]
    shown = words([f"{name} {100 * parts[FER2013.classes.index(name)]:.0f}%" for name in top])
    both = float(np.sort(parts)[-2:].sum())
    return Finding(
        f"The two most frequent answers: {shown}, together {100 * both:.0f}%.",
        set(top) == {"happy", "neutral"} and both > 0.5,
    )


def _attitudes(row: Row) -> Finding:
    value, constant = merged(row, ATTITUDES), most_frequent(row, ATTITUDES)
    return Finding(
        f"{percent(value)} on three attitudes; always the most frequent one gives {percent(constant)}, against "
        f"{percent(most_frequent(row))} for seven classes.",
        value.low > row.interval.high,
    )


def _joined(row: Row) -> Finding:
    value = merged(row, JOINED)
    return Finding(
        f"{percent(value)} with the two as one class, {percent(accuracy(row))} without: disgust is too rare to matter "
        "for the accuracy.",
        value.value > row.accuracy,
    )


def _trained(row: Row, expected: Callable[[float], bool]) -> Finding:
    """No judgement on a training that an early stop cut short."""
    ends, epochs = last(row, "train_accuracy"), round(last(row, "epoch"))
    stopped = epochs < row.first.recipe["epochs"]
    return Finding(
        f"{100 * ends:.1f}% on the training images after {epochs} epochs{', when the early stop came' * stopped}.",
        None if stopped else expected(ends),
    )


PAPER = Paper(
    name="lin_shi",
    title="Lin & Shi: Facial Expression Recognition with Deep Convolutional Neural Networks",
    claims="A light VGG with batch normalisation and dropout reaches 58.6% on FER2013 (57.6% on the validation set), "
    "near people's 65.5%, and far above 35% of linear classifiers on raw pixels and 14.3% of a random guess; without "
    "batch normalisation it loses 3 points, without dropout 8.",
    findings=(
        Claim("The CNN is far above the best of the linear classifiers.", (LIGHT, LINEAR[2]), versus),
        Claim("Batch normalisation helps; the paper says by 3 points.", (LIGHT, NO_NORM), versus),
        Claim("Dropout helps; the paper says by 8 points.", (LIGHT, NO_DROPOUT), versus),
        Claim('It has "less than 1%" of the best model\'s convolution parameters.', (LIGHT,), _light),
    ),
    is_not=(
        "The paper's hyperparameters: it drew them at random and names none. Adam at 1e-3, batches of 128 and flips "
        "are chosen here.",
        "People's accuracy measured here: 65.5% is Goodfellow et al.'s figure, as the paper quotes it.",
        "The paper's machine: its seconds an epoch stand beside ours for their order only.",
    ),
    sections=(
        Table(
            "Table 1: linear classifiers on raw pixels",
            differs="The paper says no more than their names; what is chosen here was chosen on PublicTest, and the "
            "quadratic one works on 400 principal components.",
            columns=("validation", "test"),
            rows=tuple(
                (name, (selected(ref), tested(ref)))
                for name, ref in zip(("LDA", "QDA", "logistic regression, soft-max"), LINEAR, strict=True)
            ),
            corner="classifier",
        ),
        Table(
            "Section 5: the CNN and what it owes to its parts",
            differs="The epoch best on PublicTest of at most 32, as the paper's curves follow it, so its validation "
            "accuracy is a maximum; five epochs without a better one end the training. Without batch "
            "normalisation: the paper's 58.6 minus its 3 points.",
            columns=("validation", "test"),
            rows=(
                ("light VGG", (selected(LIGHT), tested(LIGHT))),
                ("without batch normalisation", (selected(NO_NORM), tested(NO_NORM))),
                ("without dropout", (selected(NO_DROPOUT), tested(NO_DROPOUT))),
            ),
            corner="network",
        ),
        Figure(
            "accuracies",
            "All of them between a random guess and people",
            "Test accuracy with its 95% interval; strokes are the paper's numbers. People: Goodfellow et al. 2013.",
            (*LINEAR, NO_DROPOUT, NO_NORM, LIGHT),
            figures.scores(
                {
                    "lda.paper": "LDA",
                    "qda.paper": "QDA",
                    "logreg.paper": "logistic regression",
                    "lin_shi.paper": "light VGG",
                    "lin_shi.no_batch_norm": "without batch normalisation",
                    "lin_shi.no_dropout": "without dropout",
                },
                LEVELS,
            ),
            least=2,
        ),
        Figure(
            "curves",
            "Fig. 3 and 4: accuracy and loss over the epochs",
            "Train is with dropout and flips on, select is PublicTest.",
            (LIGHT,),
            figures.learning_curves,
        ),
        Figure(
            "curves-no-dropout",
            "The same without dropout",
            "The paper: a platform of 98% on the training images, and a cross-entropy around 2.0.",
            (NO_DROPOUT,),
            figures.learning_curves,
        ),
        Figure(
            "label-counts",
            "Fig. 5: true and predicted labels",
            "On PrivateTest: bars are how often a class is predicted, strokes how often it is true.",
            (LIGHT,),
            figures.label_counts,
        ),
        Table(
            "Fig. 6: normalised confusion matrix",
            differs="A row is the true class, a cell the part of it that is taken for the column's class.",
            columns=FIG_6_ORDER,
            rows=tuple(
                (
                    true,
                    tuple(
                        Number(LIGHT, Measure(partial(share, name=true, taken_for=predicted)), paper)
                        for predicted, paper in zip(FIG_6_ORDER, values, strict=True)
                    ),
                )
                for true, values in zip(FIG_6_ORDER, FIG_6, strict=True)
            ),
            corner="true",
        ),
        Figure(
            "confusion",
            "Fig. 6, ours",
            "Percent of each true class on PrivateTest, with the number of its images.",
            (LIGHT,),
            figures.normalised_confusion,
        ),
        Figure(
            "merged",
            "Classes joined",
            "The same predictions, probabilities added up: angry with disgust; and positive (happy), neutral (neutral "
            "and surprise) and negative (the others).",
            (LIGHT,),
            figures.merged_scores({"angry and disgust as one": JOINED, "three attitudes": ATTITUDES}),
        ),
        Claims(
            "Smaller claims",
            (
                Claim("Four times a random guess.", (LIGHT,), _over_chance),
                Claim("70+% of the best model's accuracy.", (LIGHT,), _near_best),
                Claim("200 s an epoch, VGG19 1200 s.", (LIGHT,), _seconds),
                Claim("Recall of happy, surprise and neutral above people's 65.5%.", (LIGHT,), _like_people),
                Claim("More disgusted faces are taken for angry than found.", (LIGHT,), _disgust),
                Claim("No class but fear is taken for disgust.", (LIGHT,), _into_disgust),
                Claim("Most pictures are taken for happy or neutral.", (LIGHT,), _favourites),
                Claim("Positive, negative and neutral would be easier.", (LIGHT,), _attitudes),
                Claim("Angry and disgust are better joined.", (LIGHT,), _joined),
                Claim(
                    "The training accuracy has no platform within 32 epochs.",
                    (LIGHT,),
                    partial(_trained, expected=lambda ends: ends < 0.9),
                ),
                Claim(
                    "98% on the training images without dropout.",
                    (NO_DROPOUT,),
                    partial(_trained, expected=lambda ends: ends > 0.95),
                ),
            ),
        ),
        Note(
            "Fig. 7: examples of each confusion",
            "The paper shows faces of the data set. No picture of a person is kept here; "
            "`python -m fer_bench errors lin_shi --recipe paper --html` writes such a page for whoever has the data.",
        ),
    ),
)
