"""The suite's table, the plan, and the processes that carry it out."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fer_bench import bench, engine, registry, suite
from fer_bench.errors import FerBenchError
from fer_bench.protocols import PROTOCOLS
from fer_bench.records import RunRecord, Workspace
from fer_bench.trainer import Compute

CPU = Compute("cpu", threads=1)


def _template(tmp_path: Path) -> bench.RunRequest:
    return bench.RunRequest(model="", recipe="", protocol="", workspace=Workspace(tmp_path), quick=True)


def test_every_registered_model_is_in_the_suite() -> None:
    named = {row.model for row in suite.rows()}
    # A third depth in the 48-pixel form, for those who want it: the suite's two already take the hours.
    assert set(registry.list_models()) - named == {"resnet101"}


def test_rows_are_unique_and_on_known_protocols() -> None:
    rows = suite.rows()
    assert len({(row.model, row.recipe, row.protocol) for row in rows}) == len(rows)
    assert {row.protocol for row in rows} == set(PROTOCOLS) - {"synthetic"}


def test_what_is_not_there_yet_is_visible() -> None:
    missing = {row.model: row.missing for row in suite.rows() if row.missing}
    assert missing["lda"] == "lda is not there yet"
    assert "face crops" in missing["leng_cnn"]


def test_papers_recipes_are_all_there() -> None:
    """A row with a published number that can run must name a recipe that exists."""
    for name in registry.list_models():
        spec = registry.get_spec(name)
        for reported in spec.reported:
            dataset = PROTOCOLS[reported.protocol].dataset
            assert spec.recipe(reported.recipe, dataset).name == reported.recipe


def test_plan_is_cheapest_first_and_transfers_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = replace(_template(tmp_path), protocol="synthetic")
    requests = [
        (replace(template, model="ranjan_2", recipe="fer_bench"), ""),
        (replace(template, model="attentional_cnn", recipe="fer_bench"), ""),
        (replace(template, model="resnet18", recipe="fer_bench"), "left out on purpose"),
    ]
    items = engine.plan(requests, CPU)
    assert [item.request.model for item in items] == ["attentional_cnn", "ranjan_2", "resnet18"]
    assert [item.state for item in items] == ["to do", "to do", "skipped"]
    assert items[0].seconds < items[1].seconds


def test_unreachable_imagenet_weights_are_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_imagenet_reachable", lambda name: False)
    request = replace(_template(tmp_path), model="resnet18_224", recipe="from_imagenet_frozen", protocol="sfew_2fold")
    (item,) = engine.plan([(request, "")], CPU)
    assert item.state == "skipped"
    assert "resnet18.tv_in1k" in item.reason


def test_transfer_without_its_source_says_what_to_run(tmp_path: Path) -> None:
    request = replace(_template(tmp_path), model="resnet18", recipe="from_fer2013", protocol="ckplus_subject")
    spec = request.spec
    with pytest.raises(FerBenchError, match="--model resnet18 --protocol fer2013 --recipe fer_bench"):
        bench._initial_state(request, spec, spec.recipe("from_fer2013", "ckplus"))


def test_budget_starts_only_what_fits(tmp_path: Path) -> None:
    request = replace(_template(tmp_path), model="lin_shi", recipe="paper", protocol="synthetic")
    items = [engine.PlanItem(request, "to do", seconds=1e6)]
    (outcome,) = engine.in_processes(items, CPU, _well, jobs=1, budget=60)
    assert outcome.not_started


def _well(request: bench.RunRequest, compute: Compute, quiet: bool) -> RunRecord:
    return None  # type: ignore[return-value]


def _by_model(request: bench.RunRequest, compute: Compute, quiet: bool) -> RunRecord:
    """A worker that fails in a way for each model."""
    if request.model == "marrugat_1":
        os.kill(os.getpid(), signal.SIGKILL)
    if request.model == "marrugat_2":
        raise FerBenchError("bad input")
    if request.model == "marrugat_3":
        raise RuntimeError("a bug")
    return _well(request, compute, quiet)


def test_every_way_to_fail_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    template = replace(_template(tmp_path), recipe="paper", protocol="synthetic")
    items = [engine.PlanItem(replace(template, model=f"marrugat_{number}"), "to do") for number in (1, 2, 3, 4)]
    outcomes = engine.in_processes(items, CPU, _by_model, jobs=2, budget=None)
    errors = {outcome.request.model: outcome.error for outcome in outcomes}
    assert "signal 9" in errors["marrugat_1"]
    assert errors["marrugat_2"] == "bad input"
    assert errors["marrugat_3"] == "RuntimeError: a bug"
    assert errors["marrugat_4"] == ""


def test_slots_share_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert engine.slots(CPU, 1).threads == cores
    assert engine.slots(CPU, cores * 2).threads == 1
