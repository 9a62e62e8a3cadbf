"""The report on an attentional CNN and on a CNN with HOG features, without authors."""

from __future__ import annotations

from fer_bench.leaderboard.rows import Row
from fer_bench.report import figures
from fer_bench.report.measures import confusion, percent, share, tested, versus, words
from fer_bench.report.paper import Claim, Claims, Figure, Finding, Maps, Note, Paper, Ref, Table

SMALL, WIDE = Ref("attentional_cnn", "fer2013"), Ref("attentional_cnn_wide", "fer2013")
HOG_2, HOG_4 = Ref("hog_cnn_2", "fer2013"), Ref("hog_cnn_4", "fer2013")
DEEP = Ref("resnet18", "fer2013", "fer_bench")


def _variant(ref: Ref, recipe: str) -> Ref:
    """Another recipe of the model."""
    return Ref(ref.model, ref.protocol, recipe)


def _rare_classes(row: Row) -> Finding:
    recalls = {name: share(row, name).value for name in row.first.classes}
    lowest = sorted(recalls, key=lambda name: recalls[name])[:2]
    counts = row.first.folds[0].counts["train"]
    shown = [f"{name} {100 * recalls[name]:.0f}% ({counts[name]:,} training images)" for name in lowest]
    return Finding(f"The lowest recalls: {words(shown)}.", set(lowest) == {"disgust", "fear"})


def _imbalance(row: Row) -> Finding:
    predicted, true = confusion(row).sum(axis=0), confusion(row).sum(axis=1)
    never = [name for name, count in zip(row.first.classes, predicted, strict=True) if not count]
    most = max(row.first.classes, key=lambda name: predicted[row.first.classes.index(name)])
    i = row.first.classes.index(most)
    rest = f"never {words(never)}" if never else "it gives each answer at least once"
    return Finding(
        f"Most often it answers {most} ({predicted[i] / predicted.sum():.0%} of the answers, "
        f"{true[i] / true.sum():.0%} of the images); {rest}."
    )


def _by_depth(one: Row, other: Row) -> Finding:
    """`versus`, with what each was given: the epochs may differ more than the layers do."""
    compared = versus(one, other)
    epochs = [len(row.first.folds[0].history) for row in (one, other)]
    return Finding(f"{compared.text} They were trained for {epochs[0]} and {epochs[1]} epochs.", compared.holds)


def _training_history(row: Row) -> Finding:
    fold = row.first.folds[0]
    entry = fold.history[fold.epoch - 1]
    return Finding(
        f"At the epoch kept, {fold.epoch}, {percent(entry['train_accuracy'])} on Training (dropout on) and "
        f"{percent(entry['select_accuracy'])} on PublicTest. No run leaves them out here; "
        "[Lin & Shi's page](lin_shi.md) has runs that do."
    )


PAPER = Paper(
    name="attentional",
    title="Attentional CNN and HOG features: Facial Expression Recognition (no authors stated)",
    claims="A CNN of four convolutions whose spatial transformer looks at the important parts of a face reaches 70.02% "
    "on FER2013, so that networks of less than 10 layers compete with much deeper ones. A second network, whose dense "
    "layers also read the HOG of the face, is described without a number.",
    findings=(
        Claim("Attention helps.", (SMALL, _variant(SMALL, "no_transformer")), versus),
        Claim("Attention helps a wider network, too (ours).", (WIDE, _variant(WIDE, "no_transformer")), versus),
        Claim("HOG features help, with 4 convolutions.", (HOG_4, _variant(HOG_4, "no_hog")), versus),
        Claim(
            "Few layers compete with many (by our recipe, over ResNet-18).",
            (_variant(SMALL, "fer_bench"), DEEP),
            _by_depth,
        ),
        Claim("And wide ones (ours).", (_variant(WIDE, "fer_bench"), DEEP), _by_depth),
    ),
    is_not=(
        "The paper's network: it states no widths. Public implementations of the network that its text describes "
        "(Deep-Emotion, arXiv 1902.01019) use 10 filters everywhere, and their users report 47 to 55%. The wide one is "
        "ours.",
        "The paper's networks with HOG, whose widths it does not state either. With two convolutions ours is the "
        "shallow one of Alizadeh & Fazel (arXiv 1704.06756), whose text the paper follows; with four it goes on from "
        "that, twice the filters after each pooling, where theirs has 64, 128, 512 and 512.",
        "The paper's hyperparameters: it chose them by cross-validation and names none; ours are fixed.",
        "Its saturation step, which does nothing to a gray picture.",
    ),
    sections=(
        Table(
            "Section 5: test accuracy",
            differs="The training set's mean image is subtracted, pictures are mirrored, PublicTest selects the epoch. "
            "Only the first number is the paper's; no_transformer and no_hog are our controls.",
            columns=("accuracy",),
            rows=(
                ("attentional CNN", (tested(SMALL),)),
                ("without its transformer", (tested(_variant(SMALL, "no_transformer")),)),
                ("attentional CNN, wide (ours)", (tested(WIDE),)),
                ("without its transformer", (tested(_variant(WIDE, "no_transformer")),)),
                ("2 convolutions and HOG", (tested(HOG_2),)),
                ("without HOG", (tested(_variant(HOG_2, "no_hog")),)),
                ("4 convolutions and HOG", (tested(HOG_4),)),
                ("without HOG", (tested(_variant(HOG_4, "no_hog")),)),
            ),
            corner="network",
        ),
        Table(
            "The same networks by our own recipe",
            differs="AdamW on one cycle, augmentation; the paper has no such numbers. ResNet-18 is the deeper "
            "network to compare with.",
            columns=("accuracy",),
            rows=tuple(
                (name, (tested(ref),))
                for name, ref in (
                    ("attentional CNN", _variant(SMALL, "fer_bench")),
                    ("attentional CNN, wide", _variant(WIDE, "fer_bench")),
                    ("2 convolutions and HOG", _variant(HOG_2, "fer_bench")),
                    ("4 convolutions and HOG", _variant(HOG_4, "fer_bench")),
                    ("ResNet-18", DEEP),
                )
            ),
            corner="network",
        ),
        Figure(
            "curves",
            "Validation losses and accuracy",
            "The attentional CNN; select is PublicTest.",
            (SMALL,),
            figures.learning_curves,
        ),
        Figure(
            "curves-hog",
            "Validation losses and accuracy of the network with HOG",
            "Four convolutions; select is PublicTest.",
            (HOG_4,),
            figures.learning_curves,
        ),
        Figure(
            "confusion",
            "Confusion matrix",
            "The attentional CNN, percent of each true class on PrivateTest.",
            (SMALL,),
            figures.normalised_confusion,
        ),
        Maps(
            "layers",
            "What the layers see",
            "Of each convolution the eight maps with the most contrast, on a face that a program drew, after the "
            "spatial transformer turned and cut it. A black map is the same everywhere.",
            SMALL,
        ),
        Claims(
            "Smaller claims",
            (
                Claim("It errs most on classes with few images, such as disgust and fear.", (SMALL,), _rare_classes),
                Claim("The imbalance of the classes is a main challenge.", (SMALL,), _imbalance),
                Claim("Dropout, batch norm and L2 reduce overfitting.", (SMALL,), _training_history),
                Claim("More depth (4 convolutions over 2, with HOG).", (HOG_4, HOG_2), _by_depth),
                Claim("HOG features help, with 2 convolutions.", (HOG_2, _variant(HOG_2, "no_hog")), versus),
            ),
        ),
        Note(
            "Cross-validated hyperparameters",
            "The paper chose its hyperparameters by cross-validation and gives neither the ranges nor the results. The "
            "recipes here were fixed before the first run, and say what was chosen. `python -m fer_bench tune "
            "attentional_cnn --protocol fer2013 --trials 20 --folds 5` searches as the paper did.",
        ),
    ),
)
