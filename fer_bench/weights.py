"""Networks in and out of safetensors files, with everything needed to use them inside the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from fer_bench import registry
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.labels import DISPLAY_ORDER
from fer_bench.predict import Predictor
from fer_bench.records import RunRecord, Workspace, read_record, replacing
from fer_bench.specs import Crop, Input, ModelSpec
from fer_bench.transforms import Normaliser

# What `metrics.fit_temperature` can give.
Temperature = Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)]
FORMAT = "fer_bench/1"
MANIFEST = "manifest.json"
FETCH = "its record is here, and `python -m fer_bench weights pull USER/NAME` fetches it from where it was pushed to"
# What a repository without large-file storage bears: of one network, and of all together.
LARGEST_FILE, LARGEST_SUM = 50_000_000, 250_000_000
# Dense layers from this size on are most of their file; of marrugat_1's 1024 x 9216, int8 changed 6 of 3589 answers.
LARGE_DENSE = 4_000_000


def sha256(path: Path) -> str:
    """The hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(predictor: Predictor, path: Path) -> str:
    """Write a predictor and return the file's sha256.

    Kernels are stored as float16, which halves the file, and those of large dense layers as int8 with a scale a
    unit, which halves it again; vectors (biases, batch norms) and what is no parameter (running statistics,
    principal components) stay float32. A run scores the network that it reads back, so what is scored is what is
    shipped.
    """
    from safetensors.torch import save_file

    network = predictor.network
    kernels = {name for name, value in network.named_parameters() if value.ndim > 1}
    large = {
        f"{name}.weight"
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and layer.weight.numel() >= LARGE_DENSE
    }
    tensors = {}
    for key, value in network.state_dict().items():
        if key in large:
            scale = value.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
            tensors[f"scale.{key}"] = scale.cpu().contiguous()
            value = (value / scale).round().to(torch.int8)
        tensors[f"network.{key}"] = (value.half() if key in kernels - large else value).cpu().contiguous()
    tensors["mean"] = torch.from_numpy(predictor.normaliser.mean).contiguous()
    tensors["std"] = torch.from_numpy(predictor.normaliser.std).contiguous()
    # One entry, its keys in order: safetensors writes several in a random order, and the same network is to
    # give the same bytes.
    header = {
        "fer_bench": json.dumps(
            {
                **predictor.metadata,
                "format": FORMAT,
                "classes": list(predictor.classes),
                "size": predictor.size,
                "channels": predictor.channels,
                "crop": predictor.crop,
                **({"input": predictor.input} if predictor.input != "pixels" else {}),
            },
            sort_keys=True,
        ),
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=header)
    return sha256(path)


def load(path: Path, device: torch.device | str = "cpu", *, trusted: bool = False) -> Predictor:
    """Read a predictor.

    Args:
        path: of the file.
        device: where the network goes.
        trusted: a run here wrote the file, so that a module of someone else's that it names may be imported.

    Raises:
        FerBenchError: the file is missing, corrupt, of another format or model revision, or not trusted and names a
            module that is not imported yet.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise FerBenchError(f"no weights at {path}: train the model, or fetch the file") from error
    except (SafetensorError, OSError) as error:
        raise FerBenchError(f"{path}: not a readable safetensors file ({error}); fetch or train it again") from error
    try:
        # The first files had the format in an entry of its own.
        metadata = {"format": header.get("format"), **json.loads(header.get("fer_bench", "{}"))}
        if (found := metadata.pop("format")) != FORMAT:
            raise FerBenchError(f"{path}: expected format {FORMAT!r}, got {found!r}")
        predictor = _predictor(path, metadata, state, trusted)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise FerBenchError(f"{path}: its content does not fit its model ({problem})") from error
    predictor.network.to(device)
    return predictor


def _predictor(path: Path, metadata: dict[str, Any], state: dict[str, Tensor], trusted: bool) -> Predictor:
    module, outside, _ = str(metadata["model"]).partition(":")
    if outside and not trusted and module not in sys.modules:
        raise FerBenchError(f"{path}: wants to import {module}, and no record here is of this file; don't use it")
    spec = registry.get_spec(str(metadata["model"]))
    if metadata["model_revision"] != spec.revision:
        raise FerBenchError(
            f"{path}: weights of {spec.name} revision {metadata['model_revision']}, but the model is at "
            f"revision {spec.revision}; train it again"
        )
    classes = tuple(metadata.pop("classes"))
    normaliser = Normaliser(np.asarray(state["mean"]), np.asarray(state["std"]))
    if len({*classes} & {*DISPLAY_ORDER}) < len(classes):
        raise ValueError(f"classes {', '.join(map(str, classes))}: expected some of {', '.join(DISPLAY_ORDER)}")
    if (shape := (metadata["channels"], metadata["size"])) != (spec.channels, spec.size):
        raise ValueError(f"channels and size {shape}: expected {(spec.channels, spec.size)}")
    for key, known in (("crop", get_args(Crop)), ("input", get_args(Input))):
        if metadata.get(key, known[0]) not in known:
            raise ValueError(f"{key} {metadata[key]}: expected {' or '.join(known)}")
    if not (np.isfinite(normaliser.mean).all() and np.isfinite(normaliser.std).all() and (normaliser.std > 0).all()):
        raise ValueError("mean and std: expected finite numbers, and a std above 0")
    network = registry.build(spec, len(classes), **metadata["model_options"])
    network.load_state_dict(
        {
            key.removeprefix("network."): _restored(value, state.get(key.replace("network.", "scale.", 1)))
            for key, value in state.items()
            if key.startswith("network.")
        }
    )
    return Predictor(
        network=network.eval().to(memory_format=torch.channels_last),
        classes=classes,
        size=metadata.pop("size"),
        channels=metadata.pop("channels"),
        crop=metadata.pop("crop"),
        input=metadata.pop("input", "pixels"),
        normaliser=normaliser,
        metadata=metadata,
    )


def _restored(stored: Tensor, scale: Tensor | None) -> Tensor:
    """What `save` made smaller, in float32; counters stay as they are."""
    if scale is not None:
        return stored.float() * scale
    return stored.float() if stored.is_floating_point() else stored


def published_path(workspace: Workspace, model: str, recipe: str) -> Path:
    """Where the network of a FER2013 row is shipped."""
    return workspace.weights / f"{model}.{recipe}.safetensors"


def row_path(workspace: Workspace, model: str, recipe: str) -> Path:
    """Where the network of a FER2013 row is: shipped, or for want of room where its run left it; it may be missing."""
    shipped = published_path(workspace, model, recipe)
    if shipped.exists():
        return shipped
    try:
        records = _records(workspace, f"{model}.{recipe}")
        latest_first = sorted(records, key=lambda record: record.finished, reverse=True)
        return next(filter(None, (_left_by(record, workspace) for record in latest_first)), shipped)
    except FerBenchError:  # a record that can't be read says nothing of a network
        return shipped


def _left_by(record: RunRecord, workspace: Workspace) -> Path | None:
    """The network that a run left and that stands for its FER2013 row: on all data, of the seed best on `select`."""
    if record.protocol != "fer2013" or record.data.partial or better_seed(record, workspace) is not None:
        return None
    return scored_by(record, 0, workspace.run_folder(*record.row, record.seed) / "fold0.safetensors")


def scored_by(record: RunRecord, fold: int, path: Path) -> Path | None:
    """The path, if the network that the record scored in a fold is there."""
    return path if path.exists() and sha256(path) == record.folds[fold].weights_sha256 else None


def publish(record: RunRecord, workspace: Workspace, say: Callable[[str], None] = lambda _: None) -> Path | None:
    """Copy a FER2013 network to `weights/` if its seed is the best of its row on `select`.

    Nothing is done where the network of this very run is not at hand, or is of a model that is not shipped. Where it
    is too large, alone or beside the others, it stays where it is, and that is said.
    """
    source = _left_by(record, workspace)
    if source is None or _spec_of(source).not_shipped:
        return None
    target = published_path(workspace, record.model, record.recipe_name)
    size = source.stat().st_size
    others = sum(path.stat().st_size for path in workspace.weights.glob("*.safetensors") if path != target)
    if size > LARGEST_FILE or others + size > LARGEST_SUM:
        say(
            f"the network is left in {source}: {size / 1e6:.1f} MB, where {workspace.weights} takes at most "
            f"{LARGEST_FILE / 1e6:.0f} MB a file and {LARGEST_SUM / 1e6:.0f} MB in all; {others / 1e6:.1f} are there"
        )
        return None
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    return target


def better_seed(record: RunRecord, workspace: Workspace) -> int | None:
    """The seed of the record's FER2013 row that is best on `select`, if it is better than the record's own.

    Runs of another recipe, model revision or data in the row's folder do not count.
    """

    def made_of(run: RunRecord) -> tuple[str, int, str]:
        return run.recipe_digest, run.model_revision, run.data.fingerprint

    others = _records(workspace, f"{record.model}.{record.recipe_name}")
    alike = [other for other in others if made_of(other) == made_of(record)]
    best = max([record, *alike], key=lambda run: run.accuracy(part="select"))
    return None if best is record else best.seed


def _spec_of(path: Path) -> ModelSpec:
    """The spec of the network in a file that a run wrote; a record does not say where an outside model's is."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return registry.get_spec(json.loads(file.metadata()["fer_bench"])["model"])


def published_name(workspace: Workspace, name: str) -> str:
    """The shipped "model.recipe" that a name means: itself, or of "model" the recipe best on `select`.

    Raises:
        FerBenchError: no such network is shipped; the message says which are, or how to get it.
    """
    shipped = {path.name.removesuffix(".safetensors") for path in workspace.weights.glob("*.safetensors")}
    if name in shipped:
        return name
    rows = sorted(row for row in shipped if row.rpartition(".")[0] == name)
    if rows:
        return max(rows, key=lambda row: _published_accuracy(workspace, row))
    model, _, recipe = name.partition(".")
    if model in registry.list_models():
        if recipe:
            registry.get_spec(model).recipe(recipe, "fer2013")
        raise FerBenchError(f"no weights of {name} are shipped: {how_to_get(workspace, name)}")
    raise UnknownNameError("model", name, shipped if recipe and shipped else registry.list_models())


def how_to_get(workspace: Workspace, name: str) -> str:
    """What fetches or makes a network that is not shipped, of "model.recipe" or "model", or why it never is."""
    model, _, recipe = name.partition(".")
    if reason := registry.get_spec(model).not_shipped:
        return reason
    if any((workspace.records / "fer2013").glob(f"{model}.{recipe or '*'}/s*.json")):  # `run` would say it is done
        return FETCH
    return f"`python -m fer_bench run --model {model} --protocol fer2013{recipe and f' --recipe {recipe}'}` trains it"


def load_published(workspace: Workspace, name: str) -> Predictor:
    """The shipped network of "model.recipe" or "model", with the temperature that the manifest has for it.

    Raises:
        FerBenchError: as `published_name`, or the file can't be read, is not the one that its record scored, or says
            that it is of another row.
    """
    row = published_name(workspace, name)
    path = workspace.weights / f"{row}.safetensors"
    records, digest = _records(workspace, row), sha256(path) if path.exists() else ""
    if digest and records and digest not in {record.folds[0].weights_sha256 for record in records}:
        raise FerBenchError(f"{path}: damaged, or not the network of its record; fetch or train it again")
    predictor = load_row(path, row, trusted=bool(records))
    return replace(predictor, temperature=temperatures(path.with_name(MANIFEST)).get(digest, 1.0))


def load_row(path: Path, row: str, *, trusted: bool = False) -> Predictor:
    """The network of "model.recipe" from a file, see `load`.

    Raises:
        FerBenchError: as `load`, or the file says that it is of another row.
    """
    predictor = load(path, trusted=trusted)
    own = f"{registry.get_spec(predictor.metadata['model']).name}.{predictor.metadata.get('recipe')}"
    if own != row:
        raise FerBenchError(f"{path}: expected the network of {row}, found that of {own}; fetch or train it again")
    return predictor


class _Calibrated(BaseModel):
    sha256: str
    temperature: Temperature


def temperatures(manifest: Path) -> dict[str, float]:
    """By the sha256 of a network, what a manifest says of it; nothing where it is none of ours."""
    try:
        entries = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return {}
    found = {}
    for entry in entries if isinstance(entries, list) else ():
        with contextlib.suppress(ValidationError):  # it has no temperature, or none that can be one
            calibrated = _Calibrated.model_validate(entry, strict=True)
            found[calibrated.sha256] = calibrated.temperature
    return found


def _published_accuracy(workspace: Workspace, row: str) -> float:
    return max((record.accuracy(part="select") for record in _records(workspace, row)), default=0.0)


def _records(workspace: Workspace, row: str) -> list[RunRecord]:
    """The FER2013 records of "model.recipe"."""
    model, _, recipe = row.rpartition(".")
    folder = workspace.record_path("fer2013", model, recipe, 0).parent
    return [read_record(path) for path in sorted(folder.glob("s*.json"))]
