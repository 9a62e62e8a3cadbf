"""The label sets of the data sets, each in its own order, and the maps between them.

Every set uses the same eight words, so a map between two sets is a look-up by name, never by position.
"""

from __future__ import annotations

from dataclasses import dataclass

from fer_bench.errors import FerBenchError, UnknownNameError

# How data sets in the wild spell the eight words.
SPELLINGS = {
    "angry": "angry",
    "anger": "angry",
    "contempt": "contempt",
    "disgust": "disgust",
    "disgusted": "disgust",
    "fear": "fear",
    "fearful": "fear",
    "happy": "happy",
    "happiness": "happy",
    "neutral": "neutral",
    "normal": "neutral",
    "sad": "sad",
    "sadness": "sad",
    "surprise": "surprise",
    "surprised": "surprise",
}


@dataclass(frozen=True)
class LabelSet:
    """An ordered tuple of class names; a label is a position in it."""

    name: str
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def index(self, spelling: str) -> int:
        """The label of a class name in any known spelling and case.

        Raises:
            FerBenchError: the word is not a class of this set.
        """
        word = SPELLINGS.get(spelling.strip().lower())
        if word is None or word not in self.classes:
            raise FerBenchError(
                f"unknown label {spelling!r} for {self.name}: expected one of {', '.join(self.classes)}"
            )
        return self.classes.index(word)


FER2013 = LabelSet("fer2013", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
CKPLUS = LabelSet("ckplus", ("angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"))
SFEW = LabelSet("sfew", ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"))

# The order in which every page, plot and file for people names the classes, whatever a network's own order is.
DISPLAY_ORDER: tuple[str, ...] = (*FER2013.classes, "contempt")

LABEL_SETS = {labels.name: labels for labels in (FER2013, CKPLUS, SFEW)}


def get_labels(name: str) -> LabelSet:
    """The label set of that name."""
    if name not in LABEL_SETS:
        raise UnknownNameError("label set", name, LABEL_SETS)
    return LABEL_SETS[name]


def label_map(source: LabelSet, target: LabelSet) -> tuple[int | None, ...]:
    """For each label of `source`, the same expression's label in `target`, or None where it has none."""
    return tuple(target.classes.index(word) if word in target.classes else None for word in source.classes)
