"""What a paper's page is made of, as data: tables, figures and claims, each naming the rows that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fer_bench import registry, suite
from fer_bench.leaderboard.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


class Value(NamedTuple):
    """A number with its 95% interval, NaN where it has none."""

    value: float
    low: float = math.nan
    high: float = math.nan


class Finding(NamedTuple):
    """What the records say of a claim; `holds` is None where nothing is judged."""

    text: str
    holds: bool | Literal["tie"] | None = None


@dataclass(frozen=True)
class Ref:
    """A row of the board, run or not."""

    model: str
    protocol: str
    recipe: str = "paper"
    seeds: str = ""

    @property
    def name(self) -> str:
        return f"{self.model}.{self.recipe}"

    @property
    def command(self) -> str:
        """What makes the row, and why it can't yet where that is so."""
        seeds = f" --seeds {self.seeds}" if self.seeds else ""
        reason = suite.missing(self.model, self.recipe, self.protocol)
        return (
            f"`python -m fer_bench run --model {self.model} --protocol {self.protocol} --recipe {self.recipe}{seeds}`"
            f"{f' ({reason})' if reason else ''}"
        )

    def reported(self, split: Literal["select", "test"] = "test") -> float | None:
        """The accuracy in percent that the paper states, from the model's spec."""
        if self.model not in registry.list_models():
            return None
        stated = registry.get_spec(self.model).reported
        key = (self.protocol, self.recipe, split)
        return next((r.accuracy for r in stated if (r.protocol, r.recipe, r.split) == key), None)


@dataclass(frozen=True)
class Measure:
    """A number of a row, and how it is written: times `scale`, with `digits`, as the papers write it."""

    of: Callable[[Row], Value]
    scale: float = 1.0
    digits: int = 2


@dataclass(frozen=True)
class Number:
    """A cell: the paper's number, in its own unit, beside ours."""

    ref: Ref
    measure: Measure
    paper: float | None


Cell = Number | str


@dataclass(frozen=True)
class Table:
    """A table of the paper with our numbers in it.

    Attributes:
        differs: one line on what our protocol does otherwise.
        rows: each with its name; a cell is a `Number`, or words.
        corner: the heading of the rows' names.
    """

    title: str
    differs: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    corner: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure of the paper, drawn again from our records.

    `least` is how many of its rows it needs, 0 for all; where it is 1, one does as well as all.
    """

    name: str
    title: str
    note: str
    needs: tuple[Ref, ...]
    draw: Callable[[Sequence[Row]], Drawing]
    least: int = 0


@dataclass(frozen=True)
class Maps:
    """The activation maps of a shipped FER2013 network on a drawn face."""

    name: str
    title: str
    note: str
    ref: Ref


@dataclass(frozen=True)
class Claim:
    """Something that the paper says, and a function of the rows named that says what we find.

    With `latency` the function is first given the measured milliseconds by model.
    """

    says: str
    needs: tuple[Ref, ...]
    found: Callable[..., Finding]
    latency: bool = False


@dataclass(frozen=True)
class Claims:
    """Claims under one heading."""

    title: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Note:
    """Words under a heading, for what has no record."""

    title: str
    text: str


Section = Table | Figure | Maps | Claims | Note


@dataclass(frozen=True)
class Paper:
    """A page.

    Attributes:
        claims: what the paper claims, in a few lines.
        is_not: what the numbers are not, beyond the protocols' own caveats.
        findings: the claims that the page starts with, and whose rows decide what it says we found.
    """

    name: str
    title: str
    claims: str
    findings: tuple[Claim, ...]
    is_not: tuple[str, ...]
    sections: tuple[Section, ...]


@dataclass
class Evidence:
    """What there is to report on: the rows on complete data, by model, protocol and recipe.

    Attributes:
        shipped: "model.recipe" of the networks in `weights/`.
        latency: as `read_latency` gives it.
    """

    rows: Mapping[tuple[str, str, str], Row]
    shipped: frozenset[str] = frozenset()
    latency: Mapping[str, Any] | None = None
    used: dict[Ref, Row] = field(default_factory=dict)

    def row(self, ref: Ref) -> Row | None:
        """The row, if it was run; it is then part of what the page is made from."""
        row = self.rows.get((ref.model, ref.protocol, ref.recipe))
        if row is not None:
            self.used[Ref(ref.model, ref.protocol, ref.recipe)] = row
        return row


def variants(base: Ref, *keys: str, **where: Any) -> tuple[Ref, ...]:
    """The recipes of a model that differ from one of its recipes in nothing but the given settings, and it itself.

    Args:
        base: the row to start from.
        keys: settings by the last word of their dotted key, "lr".
        where: of these settings the values that are asked for.
    """
    spec = registry.get_spec(base.model)
    values = settings(spec.recipe(base.recipe).to_dict())
    found = {}
    for recipe in spec.recipes:
        other = settings(recipe.to_dict())
        differing = {key.rpartition(".")[2] for key in {*values, *other} if values.get(key) != other.get(key)}
        short = {key.rpartition(".")[2]: value for key, value in other.items()}
        if differing <= {"name", "note", *keys} and all(short.get(key) == value for key, value in where.items()):
            found[recipe.name] = Ref(base.model, base.protocol, recipe.name, base.seeds)
    return tuple(found.values())


def settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A recipe's `to_dict` with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= settings(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
