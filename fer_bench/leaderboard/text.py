"""How the board's values read to people: the same words in the terminal, in the README and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

TIES = (
    "Ranks are within a protocol. A rank with = is shared: the row and the one that leads its group can't be "
    "told apart on these test images (the 95% interval of the paired difference holds 0). Images of one person (CK+) "
    "or one film (SFEW) are right and wrong together, so intervals and ties there draw people and films."
)
ORIGIN = (
    "Accuracies are in percent: one crop of the whole image, the mean over seeds, with a 95% interval over "
    "test images and seeds. Paper is the number that the paper states for this protocol and recipe, gap is "
    "ours minus that."
)


def ranked(board: pd.DataFrame) -> pd.DataFrame:
    """The rows that a table of the board shows: the points of a sweep are in the CSV and on their paper's page."""
    return board[~board["sweep"]]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def percent(value: float, digits: int = 2) -> str:
    """A percentage without its sign; nothing for an empty cell."""
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def signed(value: float) -> str:
    """A difference in points."""
    return "" if pd.isna(value) else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def count(value: int | float) -> str:
    """A large count in three digits: 950, 53.2k, 1.24M."""
    if pd.isna(value):
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:  # what three digits round up to it
            return f"{value / size:.3g}{unit}"
    return str(int(value))


def milliseconds(value: float) -> str:
    """12.3 ms; what rounds to nothing is less than 0.1 ms."""
    return "<0.1 ms" if value < 0.05 else f"{value:.1f} ms"


def rank(row: Mapping[str, Any]) -> str:
    """1, 1= where it is shared, nothing for a row on partial data."""
    return "" if pd.isna(row["rank"]) else f"{row['rank']}{'=' if row['tied'] else ''}"


def interval(row: Mapping[str, Any]) -> str:
    """The 95% interval."""
    return f"{percent(row['interval_low'], 1)}\N{EN DASH}{percent(row['interval_high'], 1)}"


def remarks(row: Mapping[str, Any]) -> list[str]:
    """What sets a row apart."""
    pretrained = {"none": "", "unknown": "", "imagenet": "ImageNet weights", "fer2013": "FER2013 weights"}
    return [
        remark
        for remark in (
            f"{row['seeds']} seeds, deviation {percent(row['deviation'])}" if row["seeds"] > 1 else "",
            pretrained.get(row["pretrained"], row["pretrained"]),
            "trained on train + select" if row["trained_on_select"] else "",
            "partial data" if row["partial"] else "",
            "predicted elsewhere" if row["external"] else "",
            "" if pd.isna(row["members"]) else f"the mean of {row['members'].count(' + ') + 1} runs",
        )
        if remark
    ]


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """A row as the terminal and the README show it, by heading."""
    return {
        "rank": rank(row),
        "model": row["model"],
        "recipe": f"{row['recipe']} (partial)" if row["partial"] else row["recipe"],
        "accuracy": f"{percent(row['accuracy'])} ({interval(row)})",
        "near-copy-free": percent(row["near_copy_free"]),
        "ten crops": percent(row["ten_crop"]),
        "paper": percent(row["reported"]),
        "gap": signed(row["gap"]),
        "parameters": count(row["parameters"]),
    }


LEFT_ALIGNED = ("model", "recipe")


def table(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of one protocol's rows; a column that is empty throughout is left out."""
    rows = [cells(row) for row in records(frame)]
    headings = [name for name in (rows[0] if rows else {}) if any(row[name] for row in rows)]
    return headings, [[row[name] for name in headings] for row in rows]
