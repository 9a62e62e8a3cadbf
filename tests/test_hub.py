"""Shipped networks: checked file by file, and on their way to the Hub and back, which a stand-in plays."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import hub_stand_in
import numpy as np
import pytest
import torch
from conftest import MakeRecord, fake_dataset
from huggingface_hub import ModelCard, ModelCardData

from fer_bench import cli, data, hub, leaderboard, registry, weights
from fer_bench.data import DatasetStatus
from fer_bench.errors import FerBenchError
from fer_bench.labels import FER2013
from fer_bench.leaderboard.board import manifest, manifest_path
from fer_bench.predict import Predictor
from fer_bench.records import Workspace, arrays_digest, read_arrays, read_record, write_record
from fer_bench.scoring import near_copy_free, score_arrays
from fer_bench.specs import VIEWS
from fer_bench.transforms import Normaliser

REPO = "someone/networks"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[hub_stand_in.Hub]:
    """A Hub of the test's own, and a token that may write there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # the stand-in has none
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", hub_stand_in.WRITER)
    with hub_stand_in.serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace that the command line takes."""
    monkeypatch.setattr(Workspace.__init__, "__defaults__", (tmp_path / "here",))
    return Workspace()


def network(path: Path, model: str, seed: int = 0, recipe: str = "paper") -> Path:
    """An untrained network in a file."""
    torch.manual_seed(seed)
    zeros = np.zeros((1, 1, 1), dtype=np.float32)
    metadata = {"model": model, "model_revision": 1, "model_options": {}, "recipe": recipe}
    built = registry.create_model(model).eval()
    weights.save(Predictor(built, FER2013.classes, 48, 1, Normaliser(zeros, zeros + 1), metadata=metadata), path)
    return path


def ship(make_record: MakeRecord, workspace: Workspace, model: str, seed: int = 0) -> Path:
    """A network, and the record that scored it."""
    record = make_record(workspace, model, seed=seed)
    path = network(weights.published_path(workspace, model, "paper"), model, seed)
    _rewrite(workspace, model, seed, weights.sha256(path))
    leaderboard.build(workspace)
    assert record.model == model
    return path


def _rewrite(workspace: Workspace, model: str, seed: int, digest: str) -> None:
    place = workspace.record_path("fer2013", model, "paper", seed)
    record = read_record(place)
    folds = [record.folds[0].model_copy(update={"weights_sha256": digest})]
    write_record(place, record.model_copy(update={"folds": folds}), read_arrays(place.with_suffix(".npz")))


def files(workspace: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.weights.glob("*.safetensors")}


def pulled(workspace: Workspace) -> dict[str, str]:
    return {file.name: file.state for file in hub.pull(REPO, workspace)}


# push, pull


def test_there_and_back(
    stand_in: hub_stand_in.Hub, workspace: Workspace, here: Workspace, make_record: MakeRecord
) -> None:
    for model in ("lda", "lin_shi"):
        ship(make_record, workspace, model)
    assert hub.push(REPO, workspace) == hub.Pushed(f"{stand_in.url}/{REPO}", 2, changed=True)
    assert len(stand_in.commits[REPO]) == 2, "the empty one, and one for all files"
    assert stand_in.files(REPO)[weights.MANIFEST] == manifest(workspace)
    assert pulled(here) == {"lda.paper.safetensors": "new", "lin_shi.paper.safetensors": "new"}
    assert files(here) == files(workspace)
    assert manifest_path(here).read_bytes() == manifest(here), "of what is here, where no record is"
    assert not [path for path in here.weights.iterdir() if path.name.startswith(".")]
    stand_in.fetched.clear()
    assert set(pulled(here).values()) == {"here"}
    assert stand_in.fetched == [weights.MANIFEST]


def test_only_what_changed_is_sent(stand_in: hub_stand_in.Hub, workspace: Workspace, make_record: MakeRecord) -> None:
    for model in ("lda", "lin_shi"):
        ship(make_record, workspace, model)
    hub.push(REPO, workspace)
    sent, commits = len(stand_in.uploaded), len(stand_in.commits[REPO])
    assert not hub.push(REPO, workspace).changed
    assert (len(stand_in.uploaded), len(stand_in.commits[REPO])) == (sent, commits)
    path = ship(make_record, workspace, "lda", seed=1)
    assert hub.push(REPO, workspace).changed
    assert stand_in.uploaded[sent:] == [weights.sha256(path)]


def test_a_network_that_no_record_scored_is_not_sent(
    stand_in: hub_stand_in.Hub, workspace: Workspace, make_record: MakeRecord
) -> None:
    path = ship(make_record, workspace, "lda")
    other = path.with_name("lin_shi.paper.safetensors")
    for bad in (b"damaged", path.read_bytes()):
        other.write_bytes(bad)  # of no record, or of another row's
        with pytest.raises(FerBenchError, match=r"lin_shi\.paper\.safetensors: its sha256 is in no record of its row"):
            hub.push(REPO, workspace)
    assert not stand_in.commits and not stand_in.uploaded


@pytest.mark.parametrize("damage", [lambda _: b"<html>", lambda whole: whole[:-1] + b"\1"], ids=["shorter", "a bit"])
def test_a_damaged_download_replaces_nothing(
    stand_in: hub_stand_in.Hub,
    workspace: Workspace,
    here: Workspace,
    make_record: MakeRecord,
    damage: Callable[[bytes], bytes],
) -> None:
    path = ship(make_record, workspace, "lda")
    hub.push(REPO, workspace)
    stand_in.spoiled[path.name] = damage(path.read_bytes())
    here.weights.mkdir(parents=True)
    (here.weights / path.name).write_bytes(b"an older one")
    with pytest.raises(FerBenchError, match=r"lda\.paper\.safetensors is not what|can't be asked"):
        pulled(here)
    assert files(here) == {path.name: b"an older one"}
    assert manifest_path(here).read_bytes() == manifest(here)
    del stand_in.spoiled[path.name]
    assert pulled(here) == {path.name: "replaced"}
    assert files(here) == files(workspace)


def test_a_scored_network_is_not_replaced_by_an_unknown_one(
    stand_in: hub_stand_in.Hub, workspace: Workspace, here: Workspace, make_record: MakeRecord
) -> None:
    ship(make_record, workspace, "lda")
    hub.push(REPO, workspace)
    own = ship(make_record, here, "lda", seed=1)
    before = own.read_bytes()
    assert pulled(here) == {own.name: "kept"} and own.read_bytes() == before


ENTRY = {"file": "lda.paper.safetensors", "sha256": "0" * 64, "bytes": 9}


@pytest.mark.parametrize(
    "content",
    [
        *(
            [ENTRY | {"file": name}]
            for name in (
                "../lda.paper.safetensors",
                "/lda.paper.safetensors",
                "a/b.c.safetensors",
                "lda.paper.pkl",
                "..",
            )
        ),
        [ENTRY | {"file": "lda.paper.safetensors\n"}],
        [ENTRY | {"sha256": "0"}],
        [ENTRY | {"bytes": 10**12}],
        {"file": "lda"},
        "nothing",
    ],
    ids=str,
)
def test_a_manifest_of_something_else_is_refused(
    stand_in: hub_stand_in.Hub, here: Workspace, tmp_path: Path, content: object
) -> None:
    stand_in.commits[REPO] = [{weights.MANIFEST: json.dumps(content).encode(), "../lda.paper.safetensors": b"x"}]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FerBenchError, match=r"someone/networks: manifest\.json is not one of fer_bench: .+"):
        pulled(here)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: path.write_bytes(b"no network"), "not a readable safetensors file"),
        (lambda path: network(path, "logreg"), "expected the network of lda.paper, found that of logreg.paper"),
        (lambda path: network(path, "lda", recipe="fer_bench"), "found that of lda.fer_bench"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'\\"lda\\"', b'\\"a:b\\"')), "wants to import a"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'\\"lda\\"', b'\\"ab:\\"')), "wants to import ab"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'\\"lda\\"', b"12345  ")), "unknown model '12345'"),
    ],
    ids=["bytes", "model", "recipe", "module", "module alone", "number"],
)
def test_what_is_not_the_network_that_it_is_called_replaces_nothing(
    stand_in: hub_stand_in.Hub,
    workspace: Workspace,
    here: Workspace,
    make_record: MakeRecord,
    change: Callable[[Path], object],
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, other = (ship(make_record, workspace, model) for model in ("lda", "logreg"))
    hub.push(REPO, workspace)
    change(path)
    content = path.read_bytes()
    entries = [{"file": one.name, "sha256": weights.sha256(one), "bytes": one.stat().st_size} for one in (path, other)]
    stand_in.commits[REPO].append(
        {path.name: content, other.name: other.read_bytes(), weights.MANIFEST: json.dumps(entries).encode()}
    )
    own = network(here.weights / path.name, "lda", seed=5)
    before = own.read_bytes()
    refused, well = hub.pull(REPO, here)
    assert (refused.state, well.state) == ("refused", "new") and problem in refused.note
    assert own.read_bytes() == before
    assert cli.main(["weights", "pull", REPO]) == 1
    assert capsys.readouterr().out.splitlines()[0].startswith(f"refused: {path.name} (")


def test_a_size_that_is_not_the_manifests(
    stand_in: hub_stand_in.Hub, workspace: Workspace, here: Workspace, make_record: MakeRecord
) -> None:
    path = ship(make_record, workspace, "lda")
    hub.push(REPO, workspace)
    (entry,) = json.loads(stand_in.files(REPO)[weights.MANIFEST])
    stand_in.files(REPO)[weights.MANIFEST] = json.dumps([entry | {"bytes": entry["bytes"] - 1}]).encode()
    with pytest.raises(FerBenchError, match=rf"{path.name} is not what its manifest\.json says: another size"):
        pulled(here)


def test_the_temperature_comes_along_where_no_record_is(
    stand_in: hub_stand_in.Hub, workspace: Workspace, here: Workspace, make_record: MakeRecord
) -> None:
    ship(make_record, workspace, "lda")
    hub.push(REPO, workspace)
    images = fake_dataset("fer2013").images[:5]
    expected = weights.load_published(workspace, "lda")
    assert expected.temperature != 1
    pulled(here)
    for _ in range(2):
        found = weights.load_published(here, "lda")
        assert found.temperature == expected.temperature
        np.testing.assert_array_equal(found.predict(images), expected.predict(images))
        leaderboard.build(here)


def test_the_card_says_what_the_records_say(workspace: Workspace, make_record: MakeRecord) -> None:
    ship(make_record, workspace, "lda")
    ship(make_record, workspace, "lin_shi")
    records = {
        f"{model}.paper.safetensors": read_record(workspace.record_path("fer2013", model, "paper", 0))
        for model in ("lda", "lin_shi")
    }
    card = ModelCard(hub.card(REPO, records, workspace))
    assert isinstance(card.data, ModelCardData)
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "image-classification")
    stated = {result.metric_name: result.metric_value for result in card.data.eval_results or []}
    for file, record in records.items():
        scores = record.metrics["test"]["plain"]
        name = file.removesuffix(".safetensors")
        assert stated[f"{name}, accuracy"] == pytest.approx(scores["accuracy"], abs=1e-4)
        assert stated[f"{name}, macro F1"] == pytest.approx(scores["macro_f1"], abs=1e-4)
        assert f"| `{file}` | {100 * scores['accuracy']:.2f} |" in card.text
    assert len(stated) == 4
    assert f"weights pull {REPO}" in card.text and "not what a person feels" in card.text


def refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("fer_bench: ") and words in error


def test_what_can_go_wrong_is_one_line(
    stand_in: hub_stand_in.Hub,
    here: Workspace,
    make_record: MakeRecord,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused(["push", REPO], "no networks in", capsys)
    ship(make_record, here, "lda")
    refused(["pull", REPO], "no such model repository", capsys)
    refused(["pull", "a/b/c"], "Repo id", capsys)
    monkeypatch.setenv("HF_TOKEN", hub_stand_in.READER)
    refused(["push", REPO], "may not write there", capsys)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    refused(["push", REPO], "wants a token", capsys)
    stand_in.commits[REPO] = [{"README.md": b"another's"}]
    refused(["pull", REPO], "has no manifest.json", capsys)
    refused(["pull", REPO, "--revision", "v7"], "no such revision", capsys)
    stand_in.commits[REPO].append({weights.MANIFEST: json.dumps([ENTRY | {"file": "qda.paper.safetensors"}]).encode()})
    refused(["pull", REPO], "has no qda.paper.safetensors", capsys)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused(["pull", REPO], "can't be asked", capsys)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(["pull", REPO], "can't be asked", capsys)


def test_the_commands(
    stand_in: hub_stand_in.Hub, here: Workspace, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ship(make_record, here, "lda")
    assert cli.main(["weights", "push", REPO]) == 0
    assert capsys.readouterr().out == f"{stand_in.url}/{REPO}: 1 networks\n"
    assert cli.main(["weights", "push", REPO]) == 0
    assert capsys.readouterr().out == f"{stand_in.url}/{REPO}: nothing was new\n"
    path.unlink()
    first = stand_in.commit_id(REPO, 1)
    assert cli.main(["weights", "pull", REPO, "--revision", first]) == 0
    assert capsys.readouterr().out == "new: lda.paper.safetensors\n1 of 1 networks are new\n"
    assert manifest_path(here).read_bytes() == manifest(here)


# verify


@pytest.fixture
def scored(here: Workspace, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped network whose record has what it predicts of data that are at hand."""
    dataset = fake_dataset("fer2013")
    monkeypatch.setattr(data, "status", lambda _: [DatasetStatus("fer2013", True, "fabricated", None, "", "")])
    monkeypatch.setattr(data, "load", lambda *_, **__: dataset)
    path = ship(make_record, here, "lda")
    place = here.record_path("fer2013", "lda", "paper", 0)
    record, arrays = read_record(place), read_arrays(place.with_suffix(".npz"))
    index = {id_: number for number, id_ in enumerate(dataset.ids)}
    for part in ("select", "test"):
        images = dataset.images[[index[id_] for id_ in arrays[f"{part}_ids"]]]
        arrays |= {f"{part}_{view}": weights.load(path).predict(images, view) for view in VIEWS}
    info = record.predictions.model_copy(update={"sha256": arrays_digest(arrays)})
    scores = {"metrics": score_arrays(arrays), "near_copy_free": near_copy_free(arrays)}
    write_record(place, record.model_copy(update=scores | {"predictions": info}), arrays)
    leaderboard.build(here)
    return path


def verified(capsys: pytest.CaptureFixture[str], *names: str) -> tuple[int, list[str]]:
    code = cli.main(["weights", "verify", *names])
    return code, capsys.readouterr().out.splitlines()


def test_verify_predicts_again_with_each_file(
    scored: Path, here: Workspace, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = verified(capsys)
    assert code == 0
    assert lines == [
        f"ok: {manifest_path(here)}: 1 networks, 0.0 MB",
        f"ok: {scored}: lda.paper gives the same probabilities, bit for bit",
        "2 verified, 0 failed",
    ]
    place = here.record_path("fer2013", "lda", "paper", 0)
    record, arrays = read_record(place), read_arrays(place.with_suffix(".npz"))
    metrics = json.loads(json.dumps(record.metrics))
    metrics["select"]["flip"]["accuracy"] += 0.0011
    write_record(place, record.model_copy(update={"metrics": metrics}), arrays)
    code, lines = verified(capsys, "lda")
    assert code == 1 and f"FAILED: {scored}: lda.paper: select flip accuracy is -0.11 points off" in lines[0]


def test_verify_reports_what_is_not_as_the_manifest_says(
    scored: Path, here: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = json.loads(manifest_path(here).read_bytes())
    manifest_path(here).write_text(
        json.dumps([entries[0] | {"sha256": "0" * 64}, ENTRY | {"file": "gone.safetensors"}])
    )
    code, lines = verified(capsys)
    assert code == 1
    assert "lists gone.safetensors, which is not there" in lines[0]
    assert f"manifest.json.sha256: recorded {'0' * 64}" in lines[1] and lines[2] == "0 verified, 2 failed"
    manifest_path(here).write_text("[]")
    assert "does not list it" in verified(capsys, "lda.paper")[1][0]
    leaderboard.build(here)
    scored.write_bytes(scored.read_bytes()[:-4] + bytes(4))
    code, lines = verified(capsys, "lda")
    assert code == 1 and "no record is of this network" in lines[0]
    scored.rename(scored.with_name("logreg.paper.safetensors"))
    refused(["verify", "lda"], "no weights of lda are shipped", capsys)
    refused(["verify", "ldb"], "did you mean 'lda'", capsys)
    manifest_path(here).write_text("{")
    refused(["verify"], "not a readable manifest", capsys)


def test_verify_refuses_the_network_of_a_seed_that_is_not_the_best_on_select(
    scored: Path, here: Workspace, make_record: MakeRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_record(here.record_path("fer2013", "lda", "paper", 0))
    like_it = {"recipe_digest": record.recipe_digest, "data": record.data.model_dump()}
    make_record(here, "lda", seed=1, accuracy=0.1, **like_it)
    assert verified(capsys, "lda")[0] == 0
    make_record(here, "lda", seed=2, accuracy=0.99, **like_it)
    code, lines = verified(capsys, "lda")
    assert code == 1 and f"FAILED: {scored}: is the network of seed 0, but seed 2 is better on select" in lines[0]


def test_verify_refuses_a_network_under_another_name(
    scored: Path, here: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    scored.rename(scored.with_name("logreg.paper.safetensors"))
    leaderboard.build(here)
    code, lines = verified(capsys)
    assert code == 1 and "is the network of leaderboard/records/fer2013/lda.paper/s0.json" in lines[1]


def test_verify_needs_the_data(
    scored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "status", lambda _: [])
    refused(["verify", "lda"], "lda.paper can't predict again: fer2013 is not at hand", capsys)


def test_verifying_the_board_tells_as_it_goes(
    scored: Path, here: Workspace, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_record(here, "lin_shi")
    told: list[Path] = []
    results = leaderboard.verify(here, with_weights=True, report=lambda result: told.append(result.path))
    assert told == [result.path for result in results] and len(told) > 4

    def stop(result: leaderboard.VerifyResult) -> None:
        raise InterruptedError

    module = importlib.import_module("fer_bench.leaderboard.verify")  # the package's name for it is the function's
    monkeypatch.setattr(module, "_check_board", lambda *_: pytest.fail("told at the end"))
    with pytest.raises(InterruptedError):
        leaderboard.verify(here, report=stop)


@pytest.mark.data
def test_the_shipped_files_predict_what_their_records_say(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = verified(capsys, "lda.paper", "attentional_cnn.no_transformer")
    assert code == 0, lines
    assert lines[-1] == "2 verified, 0 failed"
