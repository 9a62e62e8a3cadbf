"""The board's rows as an HTML table that sorts, searches and filters in the browser; numbers sort as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from fer_bench.leaderboard import text
from fer_bench.leaderboard.assets import SORT
from fer_bench.leaderboard.page import COLUMNS, Column
from fer_bench.ui import messages

if TYPE_CHECKING:
    import pandas as pd

Cells = Mapping[str, Any]

# Fades the right edge of the rows while columns are out of sight there.
EDGE = """
function edge() {
  for (const rows of element.querySelectorAll(".fb-rows"))
    rows.classList.toggle("fb-more", rows.scrollLeft + rows.clientWidth < rows.scrollWidth - 1);
}

element.addEventListener("scroll", edge, true);
new ResizeObserver(edge).observe(element);
new MutationObserver(edge).observe(element, { childList: true, subtree: true });
"""

# Runs once; the table inside `element` is replaced when another protocol is picked, so all is heard from the outside.
SCRIPT = (
    SORT
    + EDGE
    + """
function filter() {
  const words = element.querySelector("input[type=search]").value.toLowerCase().split(/\\s+/);
  const recipe = element.querySelector("select").value;
  const rows = [...element.querySelectorAll("tbody tr")];
  for (const row of rows)
    row.hidden = !(words.every(word => row.dataset.words.includes(word)) && (!recipe || row.dataset.recipe === recipe));
  const shown = rows.filter(row => !row.hidden).length;
  const all = rows.length === 1 ? "1 row" : `${rows.length} rows`;
  element.querySelector(".fb-count").textContent = shown === rows.length ? all : `${shown} of ${all}`;
  element.querySelector(".fb-no-hit").hidden = shown > 0;
  element.querySelector(".fb-rows").hidden = !shown;
}

element.addEventListener("input", event => { if (event.target.closest(".fb-tools")) filter(); });
element.addEventListener("click", event => {
  const heading = event.target.closest("thead th");
  if (heading) return sort(heading);
  const row = event.target.closest("tbody tr");
  if (!row) return;
  for (const other of row.parentElement.children) other.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  trigger("select", { model: row.dataset.model, recipe: row.dataset.recipe });
});
"""
)


def _accuracy(row: Cells) -> str:
    spread = text.percent(row["deviation"])
    return text.percent(row["accuracy"]) + (f" \N{PLUS-MINUS SIGN} {spread}" if spread else "")


NONE = '<span class="fb-none">\N{EN DASH}</span>'
SEEDS = Column("Seeds", "Runs behind the row", "seeds", lambda row: str(row["seeds"]))


def columns(rows: pd.DataFrame) -> list[Column]:
    """The columns of numbers that a protocol's rows fill."""
    shown = [
        replace(column, meaning=f"{column.meaning}, \N{PLUS-MINUS SIGN} their deviation", show=_accuracy)
        if column.value == "accuracy"
        else column
        for column in COLUMNS
    ]
    return [column for column in (*shown, SEEDS) if rows[column.value].notna().any()]


def table(rows: pd.DataFrame, name: str) -> str:
    """The table of one protocol's rows under its search, its filter and its download.

    Args:
        rows: at least one, as the CSV has them.
        name: the protocol's.
    """
    shown = columns(rows)
    headings = "".join(
        f'<th scope="col" class="fb-number" {column.attributes}>'
        f'<button type="button">{escape(column.title)}</button></th>'
        for column in shown
    )
    options = "".join(f"<option>{escape(recipe)}</option>" for recipe in sorted(set(rows["recipe"])))
    body = "\n".join(_row(row, shown) for row in text.records(rows))
    return f"""<div class="fb-tools">
<label>Search <input type="search" placeholder="model or recipe" autocomplete="off"></label>
<label>Recipe <select><option value="">all</option>{options}</select></label>
<span class="fb-count" role="status">{len(rows)} row{"s" * (len(rows) != 1)}</span>
{messages.download(f"{name}.csv", csv(rows), "text/csv", "Download CSV")}
</div>
<div class="fb-rows" tabindex="0" role="region" aria-label="Rows of {escape(name)}">
<table class="fb-table">
<thead><tr>
<th scope="col" class="fb-number fb-rank" data-first="ascending" title="Within the protocol">\
<button type="button">Rank</button></th>
<th scope="col" class="fb-name"><button type="button">Model</button></th>
{headings}
</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>
<p class="fb-empty fb-no-hit" hidden>No row has these words and this recipe. Clear the search to see all.</p>
<p class="fb-quiet">{escape(text.TIES)} Choose a row for what is behind it.</p>"""


def csv(rows: pd.DataFrame) -> str:
    """The rows with every column, as `leaderboard.csv` has them."""
    return rows.to_csv(index=False, lineterminator="\n")


def _row(row: Cells, shown: list[Column]) -> str:
    model, recipe = escape(row["model"]), escape(row["recipe"])
    broken = model.replace("_", "_<wbr>")
    # The seeds and their deviation have columns of their own.
    remarks = "".join(
        f'<span class="fb-remark">{escape(remark)}</span>' for remark in text.remarks({**row, "seeds": 1})
    )
    words = escape(f"{row['model']} {row['recipe']}".lower())
    rank = text.rank(row) or NONE
    return (
        f'<tr data-model="{model}" data-recipe="{recipe}" data-words="{words}">'
        f'<td class="fb-number fb-rank"{_sort_value(row["rank"])}>{rank}</td>'
        f'<th scope="row" class="fb-name" data-value="{model} {recipe}"><button type="button">{broken}</button>'
        f'<span class="fb-recipe">{recipe}</span>{remarks}</th>'
        + "".join(_cell(row, column) for column in shown)
        + "</tr>"
    )


def _cell(row: Cells, column: Column) -> str:
    shown = escape(column.show(row)) or NONE
    headline = " fb-headline" if column.value == "accuracy" else ""
    return f'<td class="fb-number{headline}"{_sort_value(row[column.value])}>{shown}</td>'


def _sort_value(value: Any) -> str:
    import pandas as pd

    return "" if pd.isna(value) else f' data-value="{value}"'
