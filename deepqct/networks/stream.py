"""The images that a network is pretrained on, without end: pieces of virtual bones, or of a run's own stacks.

Item i depends on the settings and on i alone, whoever draws it and whatever was drawn before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones.find import Bone
from deepqct.curation.stacks import CORTICAL, TRABECULAR, load_stack, of_bone
from deepqct.folder import Run
from deepqct.networks.images import DENSITY_SHIFT_MGHA, NOISE_MGHA, REMOVED, normalised, softened
from deepqct.networks.recipe import Recipe
from deepqct.networks.structure import LENGTHS, TARGETS, Structure, structure_of
from deepqct.terms import BONES
from deepqct.virtual.pieces import EDGE_VOXELS, draw_piece
from deepqct.work import set_threads

# Images cut from each piece, since measuring it takes longer than cutting it. With more of them a batch holds too few
# pieces, and what normalising layers take from a batch then differs from step to step.
CROPS = 4
_THICKEST_SLAB = 3  # slices
_LEAST_BONE = 0.15  # of a crop
_TRIES = 8

Images = NDArray[np.float32]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Pretraining:
    """The settings of a pretraining; they are written beside its weights.

    Parameters
    ----------
    arch, weights, low, high, background : str, str, float, float, str
        As in `Recipe`.
    samples : int
        Images that are learned from, each seen once.
    batch_size : int
        Images in one step; a multiple of `CROPS`.
    lr : float
        The highest learning rate of a one-cycle schedule.
    pixels : int
        Edge of an image.
    seed : int
        Decides every image and the first weights.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.networks.Pretraining(samples=6400).steps
    100
    >>> dq.networks.Pretraining(batch_size=10)
    Traceback (most recent call last):
        ...
    ValueError: batch_size is 10; it must be a multiple of 4, which is how many images are cut from each piece.
    """

    arch: str = Recipe.arch
    weights: str = Recipe.weights
    samples: int = 200_000
    batch_size: int = 64
    lr: float = 1e-3
    pixels: int = 64
    low: float = Recipe.low
    high: float = Recipe.high
    background: str = Recipe.background
    seed: int = Recipe.seed

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises
        ------
        ValueError
            Naming the setting, its value and what it may be.
        """
        Recipe(
            arch=self.arch, weights=self.weights, low=self.low, high=self.high, background=self.background, lr=self.lr
        )
        if self.batch_size < CROPS or self.batch_size % CROPS:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be a multiple of {CROPS}, which is how many images are cut from "
                "each piece."
            )
        if self.samples < self.batch_size:
            raise ValueError(f"samples is {self.samples}; give at least one batch, {self.batch_size}.")
        if not 32 <= self.pixels <= EDGE_VOXELS:
            raise ValueError(f"pixels is {self.pixels}; give 32 to {EDGE_VOXELS}, the edge of a piece.")

    @property
    def steps(self) -> int:
        """How many batches are learned from."""
        return self.samples // self.batch_size

    @property
    def pieces_a_step(self) -> int:
        """How many pieces make a batch."""
        return self.batch_size // CROPS

    def record(self) -> dict[str, Any]:
        """The settings as they are written."""
        return asdict(self)


@dataclass(frozen=True)
class Seen:
    """A piece of bone as a stack of square pixels, as curation would leave it, and its structure.

    Parameters
    ----------
    density : (z, y, x) float32, mgHA/cm³
        Whole numbers.
    inside : (z, y, x) bool
        The bone.
    pixel_mm : float
        Edge of a pixel.
    structure : Structure
        Measured on cubic voxels.
    voxels : (z, y, x) float
        Voxels of the structure for each slice and pixel.
    """

    density: NDArray[np.float32]
    inside: NDArray[np.bool_]
    pixel_mm: float
    structure: Structure
    voxels: tuple[float, float, float]


class Stream(torch.utils.data.Dataset):
    """The pieces that a network learns from: item i is the images of piece i and what is measured in each of them.

    Parameters
    ----------
    settings : Pretraining
        What the images are.
    part : str
        Training or held-out pieces; no piece is in both.
    run : Run, optional
        A curated run whose stacks are learned from in place of virtual bones.
    people : sequence of (str, str)
        The participant_id and bone of each of those stacks.
    """

    def __init__(
        self,
        settings: Pretraining,
        *,
        part: str = "training",
        run: Run | None = None,
        people: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.settings, self.part, self.run, self.people = settings, part, run, people

    def __len__(self) -> int:
        """The pieces of the training part; the held-out part has no end."""
        return self.settings.steps * self.settings.pieces_a_step

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The images of a piece, as a network takes them, and their targets, as `targets_of` gives them."""
        rng = np.random.default_rng([self.settings.seed, ("training", "held out").index(self.part), number])
        if self.run is None:
            seen = from_piece(draw_piece(rng), rng=rng, pixels=self.settings.pixels)
        else:
            person, bone = self.people[int(rng.integers(len(self.people)))]
            seen = from_stack(self.run, person, bone, pixels=self.settings.pixels)
        cut = [cut_image(seen, rng=rng, settings=self.settings) for _ in range(CROPS)]
        images, targets = (np.stack(parts) for parts in zip(*cut, strict=True))
        return as_seen(images, settings=self.settings, rng=rng), torch.from_numpy(targets).float()


def from_piece(piece: Bone, *, rng: np.random.Generator, pixels: int) -> Seen:
    """A piece as a stack whose pixels are as large as its voxels or larger, averaged and resampled as curation does.

    Parameters
    ----------
    piece : Bone
        With cubic voxels and square slices.
    rng : numpy Generator
        Draws the size of the pixels.
    pixels : int
        The fewest pixels along an edge.
    """
    return at_pixels(piece, step=float(np.exp(rng.uniform(0, np.log(piece.density.shape[1] / pixels)))), least=pixels)


def at_pixels(piece: Bone, *, step: float, least: int = 1) -> Seen:
    """A piece as a stack of pixels of a given size.

    Parameters
    ----------
    piece : Bone
        With cubic voxels.
    step : float
        Edge of a pixel, in voxels; 1 or more.
    least : int
        The fewest pixels along an edge.
    """
    slices, *edges = piece.density.shape
    many = tuple(max(int(edge / step), least) for edge in edges)
    offset = (0.0, *((edge - 1) / 2 - step * (n - 1) / 2 for edge, n in zip(edges, many, strict=True)))
    blur = max((step - 1) / 2, 0.0)
    smooth = ndimage.gaussian_filter(piece.density, (0, blur, blur))
    shape = {"output_shape": (slices, *many), "offset": offset, "mode": "nearest"}
    density = ndimage.affine_transform(smooth, (1, step, step), order=1, **shape)
    inside = ndimage.affine_transform(piece.total.astype(np.uint8), (1, step, step), order=0, **shape) > 0
    return Seen(np.rint(density), inside, step * piece.voxel_mm[1], structure_of(piece), (1.0, step, step))


def from_stack(run: Run, participant_id: str, bone: str, *, pixels: int) -> Seen:
    """One woman's stack, the box around its bone; its structure is measured on cubes as large as its pixels.

    Parameters
    ----------
    run : Run
        A curated run.
    participant_id, bone : str
        The woman, and which of her bones.
    pixels : int
        The fewest pixels along an edge of the box.

    Raises
    ------
    ValueError
        If the stack has fewer pixels.
    """
    density, mask, voxel_mm = load_stack(run, participant_id, bone)
    if density.shape[1] < pixels:
        raise ValueError(
            f"The stack of {participant_id}'s {bone} has {density.shape[1]} pixels along an edge, fewer than {pixels}; set "
            "pixels lower, or curate with a higher image_px."
        )
    shadow = np.logical_or.reduce(of_bone(mask))
    box = np.s_[:, _around(shadow, 1, pixels), _around(shadow, 0, pixels)]
    density, mask = np.asarray(density[box], np.float32), np.asarray(mask[box])
    cube = voxel_mm[1]
    many = max(round(len(density) * voxel_mm[0] / cube), 1)
    step = len(density) / many
    level = np.clip((np.arange(many) + 0.5) * step - 0.5, 0, len(density) - 1)
    low, share = np.floor(level).astype(int), (level % 1).astype(np.float32)[:, None, None]
    cubes = density[low] * (1 - share) + density[np.minimum(low + 1, len(density) - 1)] * share
    labels = mask[np.rint(level).astype(int)]
    cortical, spongy = labels == CORTICAL, labels == TRABECULAR
    measured = Bone(bone, cubes, (cube,) * 3, cortical | spongy, cortical, spongy)
    return Seen(np.asarray(density, np.float32), of_bone(mask), cube, structure_of(measured), (1 / step, 1.0, 1.0))


def _around(shadow: NDArray[np.bool_], axis: int, pixels: int) -> slice:
    """The rows or columns in which a bone is, and as many around them as an image needs; `axis` is the one summed over."""
    present = np.logical_or.reduce(shadow, axis=axis)
    found = np.flatnonzero(present) if present.any() else np.arange(len(present))
    first, last = int(found[0]), int(found[-1]) + 1
    more = max(pixels - (last - first), 0)
    first = min(max(first - more // 2, 0), len(present) - max(pixels, last - first))
    return slice(first, max(last, first + pixels))


def cut_image(seen: Seen, *, rng: np.random.Generator, settings: Pretraining) -> tuple[Images, Values]:
    """Cut one image out of a piece, and read off what is measured there.

    Parameters
    ----------
    seen : Seen
        A piece.
    rng : numpy Generator
        Draws the place, the thickness of the slabs, and how the image is turned.
    settings : Pretraining
        What the image is.

    Returns
    -------
    (channels, y, x) float32, mgHA/cm³, and (targets,) float
        The image, and its targets by `targets_of`.
    """
    slices, rows, columns = seen.density.shape
    thick = int(rng.integers(1, max(min(_THICKEST_SLAB, slices // Recipe.channels), 1) + 1))
    deep = min(thick * Recipe.channels, slices)
    for _ in range(_TRIES):
        z, y, x = (int(rng.integers(n - part + 1)) for n, part in
                   ((slices, deep), (rows, settings.pixels), (columns, settings.pixels)))  # fmt: skip
        part = np.s_[z : z + deep, y : y + settings.pixels, x : x + settings.pixels]
        inside = seen.inside[part]
        if inside.mean() >= _LEAST_BONE:
            break
    shown = (
        np.where(inside, seen.density[part], np.float32(REMOVED))
        if settings.background == "remove"
        else seen.density[part]
    )
    slabs = np.array_split(np.arange(deep), Recipe.channels)
    image = np.stack([np.rint(shown[slab].mean(axis=0)) if len(slab) else shown[-1] for slab in slabs])
    depth, height, width = (
        slice(first := min(round(s.start * f), n - 1), max(round(s.stop * f), first + 1))
        for s, f, n in zip(part, seen.voxels, seen.structure.bone.shape, strict=True)
    )  # the last thin slices of coarse pixels end within the last cube
    targets = targets_of(seen.structure.within((depth, height, width)), pixel_mm=seen.pixel_mm)
    return turned(image.astype(np.float32), targets, quarters=int(rng.integers(4)), mirrored=bool(rng.integers(2)))


def turned(image: Images, targets: Values, *, quarters: int, mirrored: bool) -> tuple[Images, Values]:
    """An image turned and mirrored without touching a pixel's value, and its targets, of which the orientation turns too.

    Parameters
    ----------
    image : (channels, y, x) float32
        The image.
    targets : (targets,) float
        What is measured in it.
    quarters : int
        Quarter turns.
    mirrored : bool
        Whether left and right change places, after the turn.
    """
    image = np.rot90(image, quarters, axes=(1, 2))
    image = image[:, :, ::-1] if mirrored else image
    names, signs = np.array(TARGETS), np.ones(len(TARGETS))
    if quarters % 2:  # a quarter turn is half a turn of the doubled angle
        signs[np.isin(names, ("Tb.Or.cos", "Tb.Or.sin"))] *= -1
    if mirrored:
        signs[names == "Tb.Or.sin"] *= -1
    return np.ascontiguousarray(image), targets * signs


def targets_of(values: Values, *, pixel_mm: float) -> Values:
    """What the network is to read: lengths as the logarithm of pixels, which is all that an image can show of them.

    Of the porosity the root is read, since most cortices have few pores and some many.

    Parameters
    ----------
    values : (targets,) float
        By `Structure.within`.
    pixel_mm : float
        Edge of a pixel.
    """
    length = np.isin(TARGETS, LENGTHS)
    found = np.where(length & ~(values > 0), np.nan, values)  # a cortex that fills its piece has no thickness
    found = np.where(length, np.log(np.where(length, found, 1.0) / pixel_mm), found)
    return np.where(np.array(TARGETS) == "Ct.Po", np.sqrt(np.clip(found, 0, None)), found)


def as_seen(images: Images, *, settings: Pretraining, rng: np.random.Generator) -> torch.Tensor:
    """Images as a network takes them: window, noise, softness and normalisation are those of training with an outcome.

    Turning, shifting and scaling are not needed, since no two pieces lie alike; the softness that they give is.

    Parameters
    ----------
    images : (images, channels, y, x) float32, mgHA/cm³
        From `cut_image`.
    settings : Pretraining
        The density window.
    rng : numpy Generator
        Draws the noise.
    """
    window = settings.high - settings.low
    share = softened(torch.from_numpy(np.clip((images - settings.low) / window, 0.0, 1.0)))
    noise = rng.standard_normal(images.shape, dtype=np.float32) * (NOISE_MGHA / window)
    shift = rng.standard_normal((len(images), 1, 1, 1), dtype=np.float32) * (DENSITY_SHIFT_MGHA / window)
    return normalised(share + torch.from_numpy(noise + shift))


def batches(stream: Stream, *, pieces: range, workers: int) -> Any:
    """The images and targets of some pieces, batch by batch, in their order, whatever the number of workers.

    Parameters
    ----------
    stream : Stream
        The pieces.
    pieces : range
        Their numbers.
    workers : int
        Processes that draw pieces; 0 draws them in this one.
    """
    return torch.utils.data.DataLoader(
        stream,
        batch_size=stream.settings.pieces_a_step,
        sampler=pieces,
        num_workers=workers,
        worker_init_fn=_alone,
        collate_fn=_together,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )


def _alone(_: int) -> None:
    """Let one process have one thread."""
    set_threads(1)
    torch.set_num_threads(1)


def _together(items: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The images of several pieces as one batch."""
    images, targets = zip(*items, strict=True)
    return torch.cat(images), torch.cat(targets)


def stacks_of(run: Run) -> tuple[tuple[str, str], ...]:
    """All stacks of a curated run, by participant_id and bone.

    Parameters
    ----------
    run : Run
        A curated run.

    Raises
    ------
    ValueError
        If it has none.
    """
    records = sorted(run.bones.glob("*.json"))
    found = [tuple(record.stem.rsplit("_", 1)) for record in records]
    stacks = tuple((person, bone) for person, bone in found if bone in BONES)
    if not stacks:
        raise ValueError(
            f"{run.folder} holds no stacks of bones; give the folder of a run in which 01_data_curation is done."
        )
    return stacks
