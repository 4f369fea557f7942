"""A network that has seen bone before: it learns to read measured structure, and is then trained on an outcome.

The images are those of `stream`, the structure is that of `structure`; no outcome takes part. Which structure is read, and
all settings, are our choice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.torch_core import default_device
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from deepqct import __version__
from deepqct.folder import Run, file_hash, read_json, resolve, write_json, write_text, write_whole
from deepqct.networks.backbones import body_tensors, given, load_weights, network
from deepqct.networks.card import card_text
from deepqct.networks.data import seed_of
from deepqct.networks.folds import scans_of, scans_seen
from deepqct.networks.recipe import Recipe
from deepqct.networks.stream import CROPS, Pretraining, Stream, batches, stacks_of
from deepqct.networks.structure import TARGETS
from deepqct.run_tables import patients_of
from deepqct.work import Progress, say

WEIGHTS, RECORD, CARD, CHECKPOINT = "weights.safetensors", "pretraining.json", "card.md", "checkpoint.safetensors"
_HEAD, _TRAINED_ON = "head.structure.", "trained_on"
SCALED_BY = 64  # pieces of the training part, from which means and spreads of the targets are taken
JUDGED_BY = 64  # held-out pieces
EVERY = 100  # steps from one checkpoint to the next
_LINES = 20  # said in the course of a pretraining
_EVERY_TENTH = 10  # patient of a run is held out


@dataclass(frozen=True)
class Reader:
    """A network that reads the structure of images.

    Parameters
    ----------
    model : Module
        A body and a linear head on the centred means of its maps; it gives standardised targets.
    mean, sd : (targets,) float
        Of the targets in the first pieces that were learned from.
    """

    model: torch.nn.Sequential
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]

    def read(self, images: torch.Tensor) -> NDArray[np.float64]:
        """Read the structure of some images.

        Parameters
        ----------
        images : (images, 3, y, x) Tensor
            Softened and normalised, as `Stream` gives them.

        Returns
        -------
        (images, targets) float
            In the order of `TARGETS`, as `targets_of` puts them.
        """
        device = next(self.model.parameters()).device
        with torch.no_grad():
            read = self.model.eval()(images.to(device)).cpu().double().numpy()  # MPS has no double precision
        return np.asarray(read * self.sd + self.mean)


def pretrain(
    out: Path,
    *,
    settings: Pretraining | None = None,
    run: Run | None = None,
    workers: int = 0,
    every: int = EVERY,
    judged: int = JUDGED_BY,
    progress: Progress | None = None,
) -> Path:
    """Let a network learn to read the structure of bone, and write its weights.

    What was interrupted goes on from its last checkpoint; on a processor it ends with the weights that it would have had.

    Parameters
    ----------
    out : Path
        Receives weights.safetensors, pretraining.json (settings, versions, readings), and card.md, which says the same in
        words.
    settings : Pretraining, optional
        What is learned from, and how; by default those of `Pretraining`.
    run : Run, optional
        A curated run whose stacks are learned from in place of virtual bones; of its outcomes nothing is read. The file
        names the scans, and no network that begins with it scores their women. Every tenth patient is held out.
    workers : int
        Processes that draw and measure pieces; the weights do not depend on it.
    every : int
        Steps from one checkpoint to the next.
    judged : int
        Held-out pieces on which the readings are judged.
    progress : callable, optional
        Called with the number of steps done and the total; without it a line is printed now and then.

    Returns
    -------
    Path
        The weights, for `Recipe(weights=…)`.

    Raises
    ------
    ValueError
        If the folder holds the beginning of another pretraining or the weights that this one begins with, or the run no
        stacks.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> import torch
    >>> few = dq.networks.Pretraining(arch="resnet18", samples=16, batch_size=16, pixels=32)
    >>> weights = dq.networks.pretrain(Path(tempfile.mkdtemp()), settings=few, judged=1, progress=lambda done, total: None)
    >>> dq.Recipe(arch="resnet18", weights=str(weights)).epochs
    8
    """
    settings = settings or Pretraining()
    if given(settings.weights) and resolve(settings.weights).resolve() == (out / WEIGHTS).resolve():
        raise ValueError(
            f"{out} holds the weights that this pretraining begins with, and its own would replace them; give another "
            "folder."
        )
    learned, unseen = _women(run)
    stream = Stream(settings, run=run, people=learned)
    trained_on = scans_of(run, {person for person, _ in learned}) if run else set()
    trained_on |= scans_seen(resolve(settings.weights)) if given(settings.weights) else set()
    made_from = _made_from(settings, run=run, people=learned, trained_on=trained_on)
    there = (out / RECORD).exists() and (out / WEIGHTS).exists()
    if there and json.loads((out / RECORD).read_text(encoding="utf-8"))["made_from"] == made_from:
        say(f"{out}: pretrained before, kept")
        return out / WEIGHTS
    with _seeded(seed_of(settings.seed, "first weights")):
        model = _untrained(settings).to(default_device())
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=0.01)
    if (out / CHECKPOINT).exists():
        state = _resume(out / CHECKPOINT, model, optimiser, made_from=made_from)
        say(f"going on from step {state['step']} of {settings.steps}")
    else:
        state = {"step": 0, "losses": [], **_scale(stream, workers=workers)}
    mean, sd = (torch.tensor(state[name], device=default_device(), dtype=torch.float32) for name in ("mean", "sd"))
    begun, since = time.perf_counter(), state["step"]
    pieces = range(state["step"] * settings.pieces_a_step, settings.steps * settings.pieces_a_step)
    for step, (images, targets) in enumerate(batches(stream, pieces=pieces, workers=workers), start=since):
        wanted = (targets.to(default_device()) - mean) / sd
        state["losses"].append(_learn(model, optimiser, images, wanted, settings=settings, step=step))
        done = step + 1
        if progress is not None:
            progress(done, settings.steps)
        elif done % (often := max(settings.steps // _LINES, 1)) == 0 or done == settings.steps:
            rate = (done - since) * settings.batch_size / (time.perf_counter() - begun)
            recent = np.mean(state["losses"][-often:])
            say(f"step {done} of {settings.steps}: loss {recent:.3f}, {rate:.0f} images a second")
        if done % every == 0 and done < settings.steps:
            _keep(out / CHECKPOINT, model, optimiser, made_from=made_from, state=state | {"step": done})
    reader = Reader(model, np.array(state["mean"]), np.array(state["sd"]))
    judges = Stream(settings, part="held out", run=run, people=unseen)
    readings = judge(reader, judges, pieces=judged, workers=workers) if run is None or unseen else pd.DataFrame()
    _write(out, reader, made_from=made_from, losses=state["losses"], readings=readings, trained_on=trained_on)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return out / WEIGHTS


def judge(reader: Reader, stream: Stream, *, pieces: int = JUDGED_BY, workers: int = 0) -> pd.DataFrame:
    """Compare what a network reads with what is measured, on pieces that it has not seen.

    Parameters
    ----------
    reader : Reader
        The network.
    stream : Stream
        Of held-out pieces.
    pieces : int
        How many of them.
    workers : int
        Processes that draw pieces.

    Returns
    -------
    DataFrame
        As `agreement` gives it.
    """
    found = [(reader.read(images), targets.numpy()) for images, targets in
             batches(stream, pieces=range(pieces), workers=workers)]  # fmt: skip
    read, measured = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return agreement(read, measured).assign(pieces=pieces)


def agreement(read: NDArray[np.floating], measured: NDArray[np.floating]) -> pd.DataFrame:
    """How well readings follow what is measured, target by target.

    Parameters
    ----------
    read, measured : (images, targets) float
        In the order of `TARGETS`; images in which a target is NaN do not count.

    Returns
    -------
    DataFrame
        target, n, r (Pearson), r2 (the share of the variance that is explained, without a new fit).
    """
    rows = []
    for target, ours, theirs in zip(TARGETS, read.T, measured.T, strict=True):
        known = np.isfinite(theirs)
        few = known.sum() < 3 or theirs[known].std() == 0
        r = np.nan if few else float(np.corrcoef(ours[known], theirs[known])[0, 1])
        left = np.nan if few else float(((ours - theirs)[known] ** 2).mean() / theirs[known].var())
        rows.append({"target": target, "n": int(known.sum()), "r": r, "r2": 1 - left})
    return pd.DataFrame(rows)


def load_reader(weights: Path, *, arch: str = Recipe.arch) -> Reader:
    """Load a pretrained network with the head that reads structure.

    Parameters
    ----------
    weights : Path
        A file that `pretrain` wrote.
    arch : str
        Its backbone.

    Raises
    ------
    ValueError
        If the file is another one, or of another backbone.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> import torch
    >>> few = dq.networks.Pretraining(arch="resnet18", samples=16, batch_size=16, pixels=32)
    >>> weights = dq.networks.pretrain(Path(tempfile.mkdtemp()), settings=few, judged=1, progress=lambda done, total: None)
    >>> dq.networks.load_reader(weights, arch="resnet18").read(torch.zeros(2, 3, 32, 32)).shape
    (2, 7)
    """
    model, tensors = _untrained(Pretraining(arch=arch)), load_file(weights)
    head = {name.removeprefix(_HEAD): tensor for name, tensor in tensors.items() if name.startswith(_HEAD)}
    if not head:
        raise ValueError(f"{weights} was not written by deepqct pretrain; give a weights.safetensors that was.")
    load_weights(model, weights, arch=arch, channels=Recipe.channels)
    mean, sd = (head.pop(name).numpy() for name in ("mean", "sd"))
    model.get_submodule("1").load_state_dict(head)
    return Reader(model.eval(), mean, sd)


def one_cycle(step: int, *, steps: int, lr: float) -> float:
    """The learning rate of a step: up over the first quarter, then down to almost nothing, as fastai's one-cycle schedule.

    Parameters
    ----------
    step, steps : int
        The step, from 0, and how many there are.
    lr : float
        The highest rate.
    """
    place, top = (step + 0.5) / steps, 0.25
    low, share = (lr / 25, place / top) if place < top else (lr / 1e5, (1 - place) / (1 - top))
    return low + (lr - low) * (1 - np.cos(np.pi * share)) / 2


def _women(run: Run | None) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """The stacks of a run that are learned from, and those of every tenth patient, which are held out."""
    if run is None:
        return (), ()
    stacks, patient = stacks_of(run), patients_of(run)
    unseen = set(sorted({patient[person] for person, _ in stacks})[_EVERY_TENTH - 1 :: _EVERY_TENTH])
    return (
        tuple(stack for stack in stacks if patient[stack[0]] not in unseen),
        tuple(stack for stack in stacks if patient[stack[0]] in unseen),
    )


def _made_from(
    settings: Pretraining, *, run: Run | None, people: tuple[tuple[str, str], ...], trained_on: set[str]
) -> dict[str, Any]:
    """All that the weights depend on, without a path."""
    begun_with = {"weights_sha256": file_hash(resolve(settings.weights))} if given(settings.weights) else {}
    return {
        "settings": settings.record() | begun_with,
        "images": "virtual bones" if run is None else "scans of a run",
        "scans": sorted(trained_on),
        "targets": list(TARGETS),
        "versions": {"deepqct": __version__, "torch": torch.__version__},
    } | ({} if run is None else {"stacks_sha256": _stacks_hash(run, people)})


def _stacks_hash(run: Run, people: tuple[tuple[str, str], ...]) -> str:
    """A hash of how the stacks were made: the same scans at other pixels, or with other contours, are other images."""
    digest = hashlib.sha256()
    for person, bone in people:
        made = read_json(run.stack_record(person, bone))["made_from"]
        digest.update(json.dumps([bone, made], sort_keys=True).encode())
    return digest.hexdigest()


def _untrained(settings: Pretraining) -> torch.nn.Sequential:
    """The body that `network` builds, with a linear head on the means of its maps, which are centred."""
    body = network(arch=settings.arch, channels=Recipe.channels, weights=settings.weights).get_submodule("0")
    with torch.no_grad():
        maps = body.eval()(torch.zeros(1, Recipe.channels, settings.pixels, settings.pixels))
    # Means of maps are all above 0: without their own centring, one step of Adam would move every reading at once.
    head = (
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.BatchNorm1d(maps.shape[1]),
        torch.nn.Linear(maps.shape[1], len(TARGETS)),
    )
    return torch.nn.Sequential(body, torch.nn.Sequential(*head))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers follow a seed within the block, and are what they were after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _scale(stream: Stream, *, workers: int) -> dict[str, list[float]]:
    """Means and spreads of the targets in the first pieces."""
    first = range(min(SCALED_BY, len(stream)))
    targets = np.concatenate([t.numpy() for _, t in batches(stream, pieces=first, workers=workers)]).astype(float)
    known = np.isfinite(targets)
    n = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, targets, 0).sum(axis=0) / n
    sd = np.sqrt((np.where(known, targets - mean, 0) ** 2).sum(axis=0) / n)
    return {"mean": mean.tolist(), "sd": np.where(sd > 0, sd, 1.0).tolist()}


def _learn(
    model: torch.nn.Sequential,
    optimiser: torch.optim.Optimizer,
    images: torch.Tensor,
    wanted: torch.Tensor,
    *,
    settings: Pretraining,
    step: int,
) -> float:
    """One step of training; targets that an image does not have do not count. Returns the loss."""
    for group in optimiser.param_groups:
        group["lr"] = one_cycle(step, steps=settings.steps, lr=settings.lr)
    known = torch.isfinite(wanted)
    on_cuda = wanted.device.type == "cuda" and torch.cuda.is_bf16_supported()
    with _seeded(seed_of(settings.seed, "step", step)):
        with torch.autocast("cuda", torch.bfloat16) if on_cuda else nullcontext():
            read = model.train()(images.to(wanted.device)).float()
        apart = torch.nn.functional.smooth_l1_loss(read, torch.where(known, wanted, read.detach()), reduction="none")
        loss = apart.sum() / known.sum().clamp(min=1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def _keep(
    path: Path,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    *,
    made_from: dict[str, Any],
    state: dict[str, Any],
) -> None:
    """Write a checkpoint: tensors and JSON, nothing that runs when it is read."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, entries in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in entries.items()}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with write_whole(path) as unfinished:
        save_file(tensors, unfinished, metadata={"made_from": json.dumps(made_from), "state": json.dumps(state)})


def _resume(
    path: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, *, made_from: dict[str, Any]
) -> dict[str, Any]:
    """Load a checkpoint into a model and its optimiser; return step, losses, means and spreads."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    if json.loads(metadata["made_from"]) != made_from:
        raise ValueError(f"{path} was begun with other settings, scans or versions; remove it, or take another folder.")
    model_state: dict[str, torch.Tensor] = {}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(path).items():
        kind, _, name = key.partition(".")
        if kind == "model":
            model_state[name] = tensor
        else:
            number, _, entry = name.partition(".")
            moments.setdefault(int(number), {})[entry] = tensor
    model.load_state_dict(model_state)
    optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})
    state: dict[str, Any] = json.loads(metadata["state"])
    return state


def _write(
    out: Path,
    reader: Reader,
    *,
    made_from: dict[str, Any],
    losses: list[float],
    readings: pd.DataFrame,
    trained_on: set[str],
) -> None:
    """Write the weights, the card, and last the record."""
    arch = made_from["settings"]["arch"]
    head = reader.model.get_submodule("1").state_dict()
    head |= {"mean": torch.from_numpy(reader.mean), "sd": torch.from_numpy(reader.sd)}
    tensors = body_tensors(reader.model, arch=arch)
    tensors |= {_HEAD + name: tensor.detach().cpu().clone() for name, tensor in head.items()}
    with write_whole(out / WEIGHTS) as unfinished:  # one entry alone, since several come in any order
        save_file(tensors, unfinished, metadata={_TRAINED_ON: " ".join(sorted(trained_on))})
    record = {
        "made_from": made_from,
        "images": len(losses) * made_from["settings"]["batch_size"],
        "pieces": len(losses) * made_from["settings"]["batch_size"] // CROPS,
        "device": str(default_device()),
        "loss": [round(float(np.mean(part)), 4) for part in np.array_split(losses, min(50, len(losses)))],
        "readings": json.loads(readings.to_json(orient="records")),
        "weights_sha256": file_hash(out / WEIGHTS),
    }
    write_text(out / CARD, card_text(record))
    write_json(out / RECORD, record)
