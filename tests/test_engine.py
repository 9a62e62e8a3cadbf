"""The suite's table, the plan, and the processes that carry it out."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import drawn_data
import pytest
from conftest import MakeRecord
from huggingface_hub.errors import LocalEntryNotFoundError

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
    missing = {(row.model, row.recipe): row.missing for row in suite.synthetic_rows() if row.missing}
    assert missing["leng_svm", "paper"] == "leng_svm has no recipe paper for synthetic"


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


def test_what_is_fitted_in_one_go_has_an_estimate_too(tmp_path: Path) -> None:
    template = replace(_template(tmp_path), model="lda", recipe="paper", protocol="synthetic")
    small, large = engine.plan([(template, ""), (replace(template, quick=False), "")], CPU)
    assert 0 < small.seconds < large.seconds < 600


@pytest.fixture
def from_imagenet(tmp_path: Path, own_places: None, monkeypatch: pytest.MonkeyPatch) -> bench.RunRequest:
    """A run on drawn frames that starts from ImageNet's weights, which are not here and can't be reached."""
    drawn_data.expect_counts(monkeypatch, "sfew", {"all": (2,) * 7})
    drawn_data.write_folder(tmp_path / "sfew", drawn_data.sfew_files())
    monkeypatch.setattr(bench, "_imagenet_cached", lambda name: False)
    monkeypatch.setattr(bench, "_imagenet_reachable", lambda name: False)
    template = replace(_template(tmp_path), data_dir=tmp_path)
    return replace(template, model="resnet18_224", recipe="from_imagenet_frozen", protocol="sfew_2fold")


def test_unreachable_imagenet_weights_are_a_reason(
    from_imagenet: bench.RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = engine.plan([(from_imagenet, "")], CPU)
    assert item.state == "skipped"
    assert "timm/resnet18.tv_in1k) can't be reached on the Hub" in item.reason
    monkeypatch.setattr(bench, "_imagenet_reachable", lambda name: pytest.fail("asked the network"))
    (item,) = engine.plan([(from_imagenet, "")], CPU, fetch=False)
    assert "are not here and would be fetched from the Hub" in item.reason


def test_what_is_done_needs_no_weights_any_more(
    from_imagenet: bench.RunRequest, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record(from_imagenet.workspace, from_imagenet.model, from_imagenet.recipe, "sfew_2fold")
    monkeypatch.setattr(bench, "done", lambda *_: record)
    (item,) = engine.plan([(from_imagenet, "")], CPU, fetch=False)
    assert item.state == "done"


def test_a_plan_that_does_not_fetch_leaves_the_network_alone(
    tmp_path: Path, own_places: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FER2013 is in the Hub's own cache, or nowhere; CK+ is on disk."""
    hub, asked = tmp_path / "hub", []
    drawn_data.write_zip(tmp_path / "data" / "ck.zip", drawn_data.ck_files())
    drawn_data.expect_counts(monkeypatch, "ckplus", {"all": (6,) * 7})
    drawn_data.expect_counts(monkeypatch, "fer2013", drawn_data.SMALL_FER)

    def snapshot(*_: object, local_files_only: bool, **__: object) -> str:
        asked.append(local_files_only)
        if local_files_only and not hub.exists():
            raise LocalEntryNotFoundError("nothing cached")
        return str(hub)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr(engine, "_estimate", lambda *_: 1.0)  # these few pictures can't be split
    template = replace(_template(tmp_path), model="ranjan_1", recipe="paper")
    requests = [(replace(template, protocol=protocol), "") for protocol in ("fer2013", "ckplus_random")]
    on_disk, on_hub = engine.plan(requests, CPU, fetch=False)
    assert (on_disk.request.protocol, on_disk.state) == ("ckplus_random", "to do")
    assert on_hub.state == "skipped"
    assert "fer2013 was not found" in on_hub.reason and "it is fetched from the Hub" in on_hub.reason

    drawn_data.write_parquet(hub / "data", drawn_data.fer_rows())
    assert [item.state for item in engine.plan(requests, CPU, fetch=False)] == ["to do", "to do"]
    assert asked == [True, True]


def test_transfer_without_its_source_says_what_to_run(tmp_path: Path) -> None:
    request = replace(_template(tmp_path), model="resnet18", recipe="from_fer2013", protocol="ckplus_subject")
    assert "--model resnet18 --protocol fer2013 --recipe record --quick` first" in bench.how_to_get(request)
    request.place.record_path("fer2013", "resnet18", "record", 0).parent.mkdir(parents=True)
    assert "weights pull" in bench.how_to_get(request), "where the run is done it would not be run again"


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


def _transfer(tmp_path: Path) -> tuple[engine.PlanItem, engine.PlanItem]:
    """A run that starts from a network, and before it in the list, for the worse, the run that makes it."""
    template = replace(_template(tmp_path), model="resnet18")
    return (
        engine.PlanItem(replace(template, recipe="from_fer2013", protocol="ckplus_subject"), "to do"),
        engine.PlanItem(replace(template, recipe="record", protocol="fer2013"), "to do"),
    )


def _source_late(request: bench.RunRequest, compute: Compute, quiet: bool) -> RunRecord:
    """The source takes its time, and what starts from it needs it."""
    made = request.workspace.root / "network"
    if not request.sources:
        time.sleep(0.5)
        made.touch()
    assert made.exists()
    return _well(request, compute, quiet)


def _source_fails(request: bench.RunRequest, compute: Compute, quiet: bool) -> RunRecord:
    assert not request.sources, "it was started"
    raise FerBenchError("bad input")


def test_a_transfer_waits_for_its_source(tmp_path: Path) -> None:
    outcomes = list(engine.in_processes(_transfer(tmp_path), CPU, _source_late, jobs=2, budget=None))
    assert [(outcome.request.recipe, outcome.error) for outcome in outcomes] == [
        ("record", ""),
        ("from_fer2013", ""),
    ]


@pytest.mark.parametrize("in_processes", [True, False])
def test_a_transfer_without_its_source_is_not_started(tmp_path: Path, in_processes: bool) -> None:
    transfer, source = _transfer(tmp_path)
    other = replace(source, request=replace(source.request, seed=1))
    if in_processes:
        outcomes = list(engine.in_processes([transfer, source, other], CPU, _source_fails, jobs=2, budget=None))
    else:
        outcomes = list(engine.in_this_process([source, other, transfer], CPU, _source_fails))
    assert [outcome.error for outcome in outcomes] == ["bad input", "bad input", "its source failed"]
    assert [outcome.not_started for outcome in outcomes] == [False, False, True]


def test_a_transfer_whose_source_has_no_budget_is_not_started(tmp_path: Path) -> None:
    transfer, source = _transfer(tmp_path)
    items = [transfer, replace(source, seconds=1e6)]
    outcomes = list(engine.in_processes(items, CPU, _source_fails, jobs=1, budget=60))
    assert all(outcome.not_started for outcome in outcomes)
    assert [outcome.error for outcome in outcomes] == [
        "does not fit into the rest of the budget",
        "its source was not started",
    ]


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


def test_what_records_say_of_the_pace(workspace: Workspace, make_record: MakeRecord) -> None:
    history = [{"epoch": 1, "seconds": 1.0, "images_per_s": 50_000.0}]

    def rates(**device: object) -> engine.Rates:
        record = make_record(workspace, "lin_shi")
        folds = [fold.model_copy(update={"history": history}).model_dump() for fold in record.folds]
        make_record(workspace, "lin_shi", folds=folds, device=record.device.model_copy(update=device).model_dump())
        return engine._measured_rates(workspace)

    pace = 50_000.0 * make_record(workspace, "lin_shi").multiply_adds
    assert rates() == {("lin_shi", "cpu", "float32"): pace}
    assert rates(threads=[2]) == {("lin_shi", "cpu", "float32"): pace / 2}
    assert rates(type="cuda", precision="bfloat16 autocast") == {("lin_shi", "cuda", "bfloat16 autocast"): pace}
    assert rates(name="A GPU then A processor") == {}  # of two devices it says nothing of the pace of one


def test_runs_that_need_each_other_are_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = _transfer(tmp_path)
    rows = tuple(item.request.row for item in items)
    monkeypatch.setattr(bench.RunRequest, "sources", property(lambda request: rows))
    outcomes = list(engine.in_processes(items, CPU, _well, jobs=2, budget=None))
    assert [outcome.not_started for outcome in outcomes] == [True, True]
    assert {outcome.error for outcome in outcomes} == {engine.CIRCLE}


def test_what_needs_a_network_that_nobody_makes_is_skipped(tmp_path: Path) -> None:
    template = replace(_template(tmp_path), protocol="synthetic", model="attentional_cnn")
    pupil = (replace(template, recipe="distilled"), "")
    (item,) = engine.plan([pupil], CPU)
    assert item.state == "skipped" and "--recipe fer_bench --quick` first" in item.reason
    teachers = [
        (replace(template, model=model, recipe="fer_bench", protocol="fer2013"), "")
        for model in ("attentional_cnn_wide", "lin_shi", "ranjan_2")
    ]
    planned = [engine.PlanItem(request, "to do") for request, _ in (pupil, *teachers)]
    assert engine._with_sources(planned) == planned
    assert [item.state for item in engine._with_sources(planned[:-1])] == ["skipped", "to do", "to do"]
