"""The page's frame, style and script. `$name` marks what `page` fills in."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>fer_bench leaderboard</title>
<style>
$style</style>
</head>
<body>
<header>
<h1>fer_bench leaderboard</h1>
<p class="lead">Facial-expression models under shared, honest protocols: $count on $protocols, every number \
recomputable from the predictions stored with it. The <a href="leaderboard.csv">CSV</a> has every column.</p>
<div class="bar">
<nav aria-label="Protocols">$links</nav>
<label>Filter <input type="search" id="filter" placeholder="model or recipe" autocomplete="off"></label>
</div>
</header>
<main>
$sections
</main>
<footer>
<h2>How these numbers are made</h2>
<p>$origin $ties Protocols never mix in one ranking.</p>
<p>In the little plots the line is the 95% interval, the dot our accuracy and the upright stroke the paper's \
number; all rows of a protocol share the scale. $latency</p>
<p>Every row comes from runs whose records hold the recipe in full, hashes of every fold and all \
predictions. To make a row again, and to recompute every number from the predictions:</p>
<pre><code>python -m fer_bench run --model MODEL --recipe RECIPE --protocol PROTOCOL
python -m fer_bench leaderboard verify</code></pre>
</footer>
<script>
$script</script>
</body>
</html>
"""

STYLE = """:root {
  color-scheme: light dark;
  --accent: #2563eb; --page: #ffffff; --ink: #14171f; --muted: #5d6573; --line: #e4e7ec; --stripe: #f6f8fb;
  --wash: #eef3fe;
}
@media (prefers-color-scheme: dark) {
  :root {
    --accent: #7aa2ff; --page: #0e1117; --ink: #e8eaf0; --muted: #9aa3b2; --line: #262c37; --stripe: #151a22;
    --wash: #18223a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 3rem); max-width: 100rem; background: var(--page);
  color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { margin: 0; font-size: 1.7rem; letter-spacing: -.02em; line-height: 1.2; }
h2 { margin: 0 0 .25rem; font-size: 1.1rem; letter-spacing: -.01em; line-height: 1.35; }
p { max-width: 75ch; margin: .4rem 0; }
a { color: var(--accent); }
.lead, .caveat, footer p { color: var(--muted); }
.bar { display: flex; flex-wrap: wrap; gap: .75rem 1.5rem; align-items: center; margin-top: 1.25rem; }
nav { display: flex; flex-wrap: wrap; gap: .4rem; }
nav a {
  padding: .2rem .7rem; border: 1px solid var(--line); border-radius: 99px; color: inherit; font-size: .87rem;
  text-decoration: none;
}
nav a:hover { border-color: var(--accent); color: var(--accent); }
label { margin-left: auto; color: var(--muted); font-size: .87rem; }
input {
  width: 15rem; max-width: 60vw; margin-left: .4rem; padding: .4rem .7rem; border: 1px solid var(--line);
  border-radius: .5rem; background: var(--page); color: var(--ink); font: inherit;
}
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
section { margin-top: 2.75rem; scroll-margin-top: 1rem; }
.scroll { overflow-x: auto; margin-top: .9rem; border: 1px solid var(--line); border-radius: .7rem; }
table { width: 100%; border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }
th, td {
  padding: .5rem .8rem; border-bottom: 1px solid var(--line); text-align: left; font-weight: 400;
  white-space: nowrap; vertical-align: middle;
}
tbody tr:last-child > * { border-bottom: 0; }
.number { text-align: right; }
.name { position: sticky; left: 0; z-index: 1; border-right: 1px solid var(--line); background: var(--page); }
thead th, thead .name { padding: 0; background: var(--stripe); }
thead button {
  width: 100%; padding: .55rem .8rem; border: 0; background: none; color: var(--muted); font: inherit;
  font-size: .8rem; font-weight: 500; text-align: inherit; cursor: pointer;
}
thead button:hover, [aria-sort] button { color: var(--accent); }
thead button:focus-visible { outline-offset: -3px; border-radius: .5rem; }
[aria-sort=ascending] button::after { content: " \\2191"; }
[aria-sort=descending] button::after { content: " \\2193"; }
tbody tr:hover > * { background: var(--stripe); }
tbody .name > span { display: flex; gap: .7rem; align-items: baseline; }
.rank { flex: none; min-width: 1.7rem; color: var(--muted); text-align: right; }
.who { font-weight: 600; line-height: 1.35; }
.recipe { display: block; color: var(--muted); font-size: .83rem; font-weight: 400; }
.remark {
  margin-left: .4rem; padding: 0 .4rem; border-radius: .3rem; background: var(--wash); font-size: .75rem;
}
.headline { color: var(--accent); font-weight: 650; }
.interval svg { width: 6.5rem; height: .65rem; margin-left: .7rem; vertical-align: -1px; }
.track { stroke: var(--line); stroke-width: 1; }
.range { stroke: var(--accent); stroke-width: 2.4; stroke-linecap: round; opacity: .45; }
.paper { stroke: var(--ink); stroke-width: 1.6; }
circle { fill: var(--accent); }
.empty { color: var(--muted); opacity: .5; }
.device { font-size: .83rem; }
.precision { display: block; color: var(--muted); }
footer { margin-top: 3.5rem; padding-top: 1.5rem; border-top: 1px solid var(--line); font-size: .9rem; }
pre {
  overflow-x: auto; padding: .8rem 1rem; border-radius: .6rem; background: var(--stripe); font-size: .85rem;
}
@media (max-width: 40rem) {
  body { padding: 1.5rem 1rem; }
  label { width: 100%; margin: 0; }
  input { width: 100%; max-width: none; margin: .25rem 0 0; font-size: 16px; }
  th, td, thead button { padding-left: .6rem; padding-right: .6rem; }
  tbody .name > span { width: 40vw; gap: .4rem; white-space: normal; }
  .who { min-width: 0; font-size: .9rem; overflow-wrap: anywhere; }
  .rank { min-width: 1.2rem; font-size: .83rem; }
  .remark { display: block; width: fit-content; margin: .1rem 0 0 -.4rem; }
}
"""

# Sorts the table of a heading by its column; the app's table uses it too. A cell without a value stays last.
SORT = """const opposite = { ascending: "descending", descending: "ascending" };

function sort(heading) {
  const body = heading.closest("table").tBodies[0], numeric = heading.matches(".number, .fb-number");
  const first = numeric && heading.dataset.first !== "ascending" ? "descending" : "ascending";
  const order = opposite[heading.getAttribute("aria-sort")] ?? first;
  for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = row => row.children[heading.cellIndex].dataset.value;
  body.append(...[...body.rows].sort((one, other) => {
    const a = value(one), b = value(other);
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
  }));
}
"""

SCRIPT = (
    SORT
    + """
for (const button of document.querySelectorAll("thead button"))
  button.addEventListener("click", () => sort(button.parentElement));

document.getElementById("filter").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\\s+/);
  for (const section of document.querySelectorAll("section")) {
    let any = false;
    for (const row of section.querySelectorAll("tbody tr")) {
      row.hidden = !words.every(word => row.dataset.words.includes(word));
      any ||= !row.hidden;
    }
    section.querySelector(".none").hidden = any;
    section.querySelector(".scroll").hidden = !any;
  }
});
"""
)
