"""Shipped networks to and from a model repository on the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fer_bench.errors import FerBenchError
from fer_bench.leaderboard.board import manifest, manifest_path
from fer_bench.protocols import get_protocol
from fer_bench.records import RunRecord, Workspace, list_records, read_record, replacing, write_bytes
from fer_bench.weights import LARGEST_FILE, MANIFEST, Temperature, load_row, sha256

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
_PROTOCOL = "fer2013"
_TEXT = """\
# fer_bench

Networks that name the look of a face: {classes}. They were trained and tested on FER2013 by
fer_bench, and each file is the very one that its run scored.

{table}

Accuracy and macro F1 are in percent, on the {images:,} pictures of FER2013's PrivateTest, which was predicted once,
after training: one look at the whole picture. {caveat}

## Use

In a copy of fer_bench:

    python -m fer_bench weights pull {repo}
    python -m fer_bench predict photos/ --model {example}

```python
from fer_bench import weights
from fer_bench.records import Workspace

predictor = weights.load_published(Workspace(), "{example}")
probabilities = predictor.predict(faces)  # (N, H, W) uint8 gray or (N, H, W, 3) RGB -> (N, {count})
predictor.classes
```

`{manifest}` has each file's sha256; labels, input size, normalisation and crop are in the files' own metadata.

## Not for

- The look of a face is not what a person feels: the same look has many reasons, and people who labelled FER2013 often
  disagree.
- Nothing here is a basis for a decision about anyone: not at work, at school, in policing, in medicine, nor elsewhere.
- Accuracy differs between groups of people, and by how much was not measured.

The networks have the licence of the project; FER2013 has its own terms.
"""


@dataclass(frozen=True)
class Pushed:
    """What an upload came to: the repository's address, how many networks it has, and whether anything was new."""

    url: str
    networks: int
    changed: bool


@dataclass(frozen=True)
class Pulled:
    """What became of a file.

    Attributes:
        name: of the file.
        state: new; replaced: another one was here; here: it was here already; kept: the one that is here is of a
            record, the Hub's is not; refused: it is not the network that it is called, or not of this version.
        note: what else is to be known, or empty.
    """

    name: str
    state: Literal["new", "replaced", "here", "kept", "refused"]
    note: str = ""


class _Entry(BaseModel):
    """A network as a manifest from elsewhere lists it. Its name can't lead out of its folder."""

    model_config = ConfigDict(frozen=True)

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.safetensors$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1, le=LARGEST_FILE)]
    temperature: Temperature | None = None


def push(repo: str, workspace: Workspace) -> Pushed:
    """Upload the shipped networks, their manifest and a model card in one commit; the repository is made if need be.

    Raises:
        FerBenchError: there is no network, one is not its record's or too large, no token may write there, or the
            Hub can't be reached. Nothing is sent then.
    """
    from huggingface_hub import CommitOperationAdd, get_token

    if get_token() is None:
        raise FerBenchError("the Hub wants a token that may write: `hf auth login`, or HF_TOKEN")
    listed = manifest(workspace)
    records = _records_of(json.loads(listed), workspace)
    api = _api()
    with _asking(repo, writing=True):
        repo = api.create_repo(repo, exist_ok=True).repo_id
        before = api.model_info(repo).sha
        commit = api.create_commit(
            repo,
            [
                *(CommitOperationAdd(file, workspace.weights / file) for file in records),
                CommitOperationAdd(MANIFEST, listed),
                CommitOperationAdd(CARD, card(repo, records, workspace).encode()),
            ],
            commit_message=f"fer_bench: {len(records)} networks",
        )
    return Pushed(f"{api.endpoint}/{repo}", len(records), commit.oid != before)


def _records_of(entries: Sequence[dict[str, Any]], workspace: Workspace) -> dict[str, RunRecord]:
    """The record of each network by the name of its file."""
    records = {}
    for entry in entries:
        file = entry["file"]
        row = (entry.get("protocol"), f"{entry.get('model')}.{entry.get('recipe')}.safetensors")
        if row != (_PROTOCOL, file):
            raise FerBenchError(f"{file}: its sha256 is in no record of its row; train it again, or take it away")
        if entry["bytes"] > LARGEST_FILE:
            raise FerBenchError(f"{file}: {entry['bytes']:,} bytes; expected at most {LARGEST_FILE:,}")
        records[file] = read_record(workspace.root / entry["record"])
    if not records:
        raise FerBenchError(
            f"no networks in {workspace.weights}: `python -m fer_bench run --protocol fer2013` makes them"
        )
    return records


def pull(repo: str, workspace: Workspace, revision: str | None = None) -> Iterator[Pulled]:
    """Download the networks that a repository's manifest lists and that are not here.

    Each is checked before it takes its place. The manifest here is made anew from what is here; of a network that no
    record here scored it has the temperature that the Hub's states.

    Yields:
        What became of each file, as it is done.

    Raises:
        FerBenchError: no such repository or revision, no manifest of ours in it, a file that is not what the manifest
            says, or the Hub can't be reached.
    """
    api = _api()
    with _asking(repo), tempfile.TemporaryDirectory() as folder:
        commit = api.model_info(repo, revision=revision).sha
        content = Path(api.hf_hub_download(repo, MANIFEST, revision=commit, local_dir=folder)).read_bytes()
    try:
        entries = TypeAdapter(list[_Entry]).validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise FerBenchError(f"{repo}: {MANIFEST} is not one of fer_bench: {where}: {first['msg']}") from error
    scored = {fold.weights_sha256 for path in list_records(workspace) for fold in read_record(path).folds}
    try:
        for entry in entries:
            yield _pull_file(api, repo, commit, entry, workspace.weights / entry.file, scored)
    finally:
        stated = {entry.sha256: entry.temperature for entry in entries if entry.temperature is not None}
        write_bytes(manifest_path(workspace), manifest(workspace, stated))


def _pull_file(api: HfApi, repo: str, commit: str | None, entry: _Entry, path: Path, scored: set[str]) -> Pulled:
    own = sha256(path) if path.exists() else None
    note = "" if entry.sha256 in scored else "no record here is of this network"
    if own == entry.sha256:
        return Pulled(entry.file, "here", note)
    if own in scored and note:
        return Pulled(entry.file, "kept", "the Hub's is of no record here")
    with tempfile.TemporaryDirectory() as folder:
        with _asking(repo, entry.file):
            fetched = Path(api.hf_hub_download(repo, entry.file, revision=commit, local_dir=folder))
        if (fetched.stat().st_size, sha256(fetched)) != (entry.bytes, entry.sha256):
            raise FerBenchError(
                f"{repo}: {entry.file} is not what its {MANIFEST} says: another size or sha256; nothing replaced"
            )
        try:
            load_row(fetched, path.name.removesuffix(".safetensors"), trusted=not note)
        except FerBenchError as error:
            return Pulled(entry.file, "refused", str(error).removeprefix(f"{fetched}: "))
        with replacing(path) as temporary:
            shutil.copyfile(fetched, temporary)
    return Pulled(entry.file, "new" if own is None else "replaced", note)


def card(repo: str, records: dict[str, RunRecord], workspace: Workspace) -> str:
    """The model card of networks by the names of their files: YAML for the Hub, Markdown for people."""
    from huggingface_hub import EvalResult, ModelCardData

    best = max(records.values(), key=lambda record: record.accuracy(part="select"))
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="fer2013",
            dataset_name="FER2013",
            dataset_split="PrivateTest",
            metric_type=kind,
            metric_name=f"{_name(record)}, {words}",
            metric_value=round(record.metrics["test"]["plain"][score], 4),
        )
        for record in records.values()
        for kind, words, score in (("accuracy", "accuracy", "accuracy"), ("f1", "macro F1", "macro_f1"))
    ]
    data = ModelCardData(
        model_name="fer_bench",
        license="mit",
        library_name="fer_bench",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "fer2013", "safetensors"],
        eval_results=results,
    )
    lines = [
        "| file | accuracy | near-copy-free | macro F1 | parameters | MB |",
        "| :-- | --: | --: | --: | --: | --: |",
    ]
    for file, record in sorted(records.items(), key=lambda item: -item[1].accuracy()):
        free = record.near_copy_free
        cells = (
            f"`{file}`",
            f"{100 * record.accuracy():.2f}",
            "" if free is None else f"{100 * free.accuracy['plain']:.2f}",
            f"{100 * record.metrics['test']['plain']['macro_f1']:.2f}",
            f"{record.parameters:,}",
            f"{(workspace.weights / file).stat().st_size / 1e6:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    text = _TEXT.format(
        classes=", ".join(best.classes),
        table="\n".join(lines),
        images=best.metrics["test"]["plain"]["n"],
        caveat=get_protocol(_PROTOCOL).caveat,
        repo=repo,
        example=_name(best),
        count=len(best.classes),
        manifest=MANIFEST,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _name(record: RunRecord) -> str:
    return f"{record.model}.{record.recipe_name}"


def _api() -> HfApi:
    """The Hub, or what HF_ENDPOINT names now; its client reads that once, when it is imported."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="fer_bench")


@contextlib.contextmanager
def _asking(repo: str, file: str = MANIFEST, *, writing: bool = False) -> Iterator[None]:
    """Whatever goes wrong on the way to the Hub, in one line; `file` is what is asked for."""
    from huggingface_hub import errors

    try:
        yield
    except Exception as error:  # its HTTP library's errors come through, and that library differs by version
        status = getattr(getattr(error, "response", None), "status_code", None)
        if writing and status in (401, 403):
            problem = f"{repo}: your token may not write there: `hf auth login` with one that may, or HF_TOKEN"
        elif isinstance(error, errors.RepositoryNotFoundError):
            problem = f"{repo}: no such model repository on the Hub, or none that you may read (`hf auth login`)"
        elif isinstance(error, errors.RevisionNotFoundError):
            problem = f"{repo}: no such revision; a branch, a tag or a commit is expected"
        elif isinstance(error, errors.EntryNotFoundError) and status == 404:
            problem = f"{repo} has no {file}: expected a repository that `weights push` made"
        else:
            problem = f"{repo}: the Hub can't be asked: {' '.join(str(error).split()) or type(error).__name__}"
        raise FerBenchError(problem) from error
