"""Marrugat, Facial Expressions and CNN: four plain networks, accuracy and training time."""

from __future__ import annotations

from itertools import pairwise

from fer_bench.leaderboard.rows import Row
from fer_bench.report import figures
from fer_bench.report.measures import (
    most_frequent,
    on_one_device,
    ordered,
    percent,
    signed,
    tested,
    train_minutes,
    versus,
    words,
)
from fer_bench.report.paper import Claim, Claims, Figure, Finding, Paper, Ref, Table

MODELS = tuple(Ref(f"marrugat_{number}", "fer2013") for number in (1, 2, 3, 4))
FIRST, SECOND, THIRD, FOURTH = MODELS
OURS = tuple(Ref(ref.model, "fer2013", "fer_bench") for ref in MODELS)
NAMES = ("model 1", "model 2", "model 3", "model 4")


def _slower(*rows: Row) -> Finding:
    alike, device = on_one_device(rows)
    if len(alike) == 1:
        return Finding("They were trained on different devices, whose times can't be compared.")
    times = [1e4 * train_minutes(row).value / row.first.recipe["steps"] for row in alike]
    first, *others = [_name(row) for row in alike]
    shown = words([f"{name} {time / times[0]:.2f}" for name, time in zip(others, times[1:], strict=True)])
    text = f"Over {first}'s {times[0]:.1f} minutes for 10,000 iterations ({device}): {shown} times as long."
    if len(alike) < len(rows):
        missing = words([_name(row) for row in rows if row not in alike])
        return Finding(f"{text} The time of {missing} is another device's, and can't be compared.")
    return Finding(text, all(after > before for before, after in pairwise(times)))


def _name(row: Row) -> str:
    return row.first.model.replace("marrugat_", "model ")


def _more_steps(*rows: Row) -> Finding:
    curves = [[entry["select_accuracy"] for entry in row.first.folds[0].history] for row in rows]
    gains = [100 * (curve[-1] - curve[len(curve) // 2]) for curve in curves]
    shown = ", ".join(f"{row.first.model} {signed(gain, 1)}" for row, gain in zip(rows, gains, strict=True))
    return Finding(
        f"Points on PublicTest won in the second half of the training: {shown}.", all(gain > 0 for gain in gains)
    )


def _against_constant(row: Row) -> Finding:
    return Finding(
        f"Always answering the test part's most frequent class gives {percent(most_frequent(row))}; ours is "
        f"{percent(row.accuracy)}.",
        row.interval.low > most_frequent(row),
    )


PAPER = Paper(
    name="marrugat",
    title="Marrugat: Facial Expressions and CNN",
    claims="Four plain CNNs on FER2013, each a change of the last, trained on a CPU for 10,000 iterations: 36.24, "
    "35.43, 36.96 and 26.60%, the last after about a third of them. More filters help a little, more layers would help "
    "most, and time is what forbids it.",
    findings=(
        Claim(
            "Model 3 is best, model 2 last of the three that were trained to the end.",
            (THIRD, FIRST, SECOND),
            ordered("model 3", "model 1", "model 2"),
        ),
        Claim("Each change makes the training longer.", MODELS, _slower),
        Claim(
            "With the time for it the deeper model 4 would be best (here: over model 3, both by our own recipe).",
            (OURS[3], OURS[2]),
            versus,
        ),
    ),
    is_not=(
        "The paper's optimiser, rate and batches: it names none. They are those of its framework's tutorial, whose "
        "network model 1 is (plain SGD at 1e-3, batches of 100).",
        "The paper's hours: it has no table of them, and its machine is unknown. Times here are of the devices in the "
        "last table, and a GPU's of a run that shared it with others; only ratios on one device say something.",
    ),
    sections=(
        Table(
            "Fig. 7: accuracy of each model",
            differs="PrivateTest; the paper does not say which of the two test sets it used. Model 4 stops after 3,333 "
            "iterations, as the paper's did.",
            columns=("accuracy",),
            rows=tuple((name, (tested(ref),)) for name, ref in zip(NAMES, MODELS, strict=True)),
            corner="model",
        ),
        Figure(
            "training-time",
            "Fig. 6: time to train each model",
            "Minutes for the iterations that each model made: 10,000, and 3,333 for model 4; those of the models that "
            "were trained on one device. The paper's bars have no numbers.",
            MODELS,
            figures.minutes,
            least=2,
        ),
        Figure(
            "iterations",
            "Accuracy against iterations",
            "On PublicTest after each epoch. The dashed line is a model that always gives the same answer.",
            MODELS,
            figures.over_steps,
            least=2,
        ),
        Claims(
            "Smaller claims",
            (
                Claim("Twice the filters in the next layer beat the same number of them.", (THIRD, SECOND), versus),
                Claim("More filters in the first layer give better results (model 2 over 1).", (SECOND, FIRST), versus),
                Claim("The more iterations, the more accurate.", MODELS, _more_steps),
                Claim("Model 4 has learned something after a third of its iterations.", (FOURTH,), _against_constant),
            ),
        ),
        Table(
            "The same networks by our own recipe",
            differs="AdamW on one cycle, 50 epochs, augmentation, mixup; the paper has no such number.",
            columns=("accuracy",),
            rows=tuple((name, (tested(ref),)) for name, ref in zip(NAMES, OURS, strict=True)),
            corner="model",
        ),
        Figure(
            "classes",
            "Fig. 2: images of each expression in FER2013",
            "All three parts together, as the records count them.",
            (*MODELS, Ref("lin_shi", "fer2013")),
            figures.class_counts,
            least=1,
        ),
    ),
)
