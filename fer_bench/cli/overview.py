"""What there is: `list` and `data`."""

from __future__ import annotations

import argparse

from fer_bench import registry, suite
from fer_bench.errors import UnknownNameError
from fer_bench.protocols import PROTOCOLS


def models(options: argparse.Namespace) -> int:
    """Models, their recipes and protocols."""
    rows: dict[str, dict[str, list[str]]] = {name: {} for name in registry.list_models()}
    for row in suite.rows():
        rows[row.model].setdefault(row.recipe, []).append(row.protocol)
    for name, recipes in rows.items():
        spec = registry.get_spec(name)
        print(f"{name}: {spec.title}; {spec.size}x{spec.size}, {spec.parameters:,} parameters")
        for recipe, where in recipes.items():
            print(f"    {recipe}: {', '.join(where)}")
        if others := [recipe for recipe in dict.fromkeys(r.name for r in spec.recipes) if recipe not in recipes]:
            print(f"    not in the suite: {', '.join(others)}")
    print(f"protocols: {', '.join(PROTOCOLS)}")
    return 0


def data_sets(options: argparse.Namespace) -> int:
    """What data were found, or what to get and where to put it."""
    from fer_bench import data

    for name in options.names:
        if name not in data.DATASETS:
            raise UnknownNameError("data set", name, data.DATASETS)
    if options.action == "status":
        for status in data.status(options.data_dir):
            if not options.names or status.name in options.names:
                print(f"{status.name}: {'found' if status.found else 'not found'}: {status.message}")
                print(f"    {status.licence}")
        return 0
    for name in options.names or (*data.found(options.data_dir), "synthetic"):
        result = data.check(name, options.data_dir, allow_partial=options.allow_partial, progress=print)
        print(f"{result.name}: {result.layout} at {result.source}{' (PARTIAL)' if result.partial else ''}")
        for part, counts in result.counts.items():
            words = ", ".join(f"{word} {count}" for word, count in counts.items())
            print(f"    {part}: {sum(counts.values())} images: {words}")
        print(f"    fingerprint {result.fingerprint}")
        for note in result.notes:
            print(f"    note: {note}")
    return 0
