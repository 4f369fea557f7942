"""How a network's maps become logits: pooling that sees unevenness, bags of patches, and the bone's own indices beside.

All parts are small modules around a backbone and fastai's head: a network is a body, its part ``0``, and a head, its
part ``1``, whichever of them it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from fastai.layers import AdaptiveConcatPool2d, Flatten
from fastai.vision.learner import add_head, create_head

from deepqct.networks.images import MEAN, REMOVED, SD
from deepqct.networks.recipe import Recipe

_EPS = 1e-5  # below the square root of a variance, whose slope is without bounds at 0
_ATTENTION = 128  # hidden units of the attention, as in Ilse et al. 2018
_SHELL_MGHA = 150.0  # a cortex lies above this, and noise of augmentation 7 SD below it; our choice
_PLACES = 4096  # points of the even set from which those within the bone are taken


@dataclass(frozen=True)
class Design:
    """What a network is built for, beside its backbone; the default is the published backbone with fastai's own head.

    Parameters
    ----------
    first : str
        As in `Recipe`.
    pooling, patches, bag
        As in `Recipe`.
    patch_px : int
        Pixels along an edge of a patch.
    shell : float
        What the cortex exceeds in an image as the network takes it, from which a patched network knows where the bone is.
    targets : int
        How many indices are told beside the outcome.
    """

    first: str = "published"
    pooling: str = "concat"
    patches: int = 0
    patch_px: int = 0
    bag: str = "attention"
    shell: float = 0.0
    targets: int = 0

    @classmethod
    def of(cls, recipe: Recipe, *, pixel_mm: float, targets: int = 0) -> Self:
        """The design that a recipe asks for.

        Parameters
        ----------
        recipe : Recipe
            Its first, pooling, patches, patch_mm and bag.
        pixel_mm : float
            Edge of a pixel of the stacks.
        targets : int
            How many indices are told.

        Raises
        ------
        ValueError
            If a patch has too few pixels.
        """
        if not recipe.patches:
            return cls(first=recipe.first, pooling=recipe.pooling, targets=targets)
        shell = ((REMOVED + _SHELL_MGHA - recipe.low) / (recipe.high - recipe.low) - MEAN) / SD
        return cls(
            first=recipe.first, pooling=recipe.pooling, patches=recipe.patches, patch_px=recipe.patch_px(pixel_mm),
            bag=recipe.bag, shell=shell, targets=targets,
        )  # fmt: skip


class SpreadPool(torch.nn.Module):
    """Mean, maximum and standard deviation of each channel of a map over its places.

    Mean and maximum do not see whether a map is even; the standard deviation, a second-order statistic, does.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(batch, channels, y, x) to (batch, 3 channels)."""
        places = maps.flatten(2).float()
        spread = (places.var(dim=2, correction=0) + _EPS).sqrt()
        return torch.cat([places.mean(dim=2), places.amax(dim=2), spread], dim=1).to(maps.dtype)


class AttentionBag(torch.nn.Module):
    """A weighted mean of the patches of an image; the weights are learnt (Ilse et al. 2018, arXiv:1802.04712).

    Parameters
    ----------
    features : int
        Of each patch.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.width = features
        self.attention = torch.nn.Sequential(
            torch.nn.Linear(features, _ATTENTION), torch.nn.Tanh(), torch.nn.Linear(_ATTENTION, 1)
        )

    def forward(self, bags: torch.Tensor) -> torch.Tensor:
        """(batch, patches, features) to (batch, features)."""
        return (torch.softmax(self.attention(bags), dim=1) * bags).sum(dim=1)


class SpreadBag(torch.nn.Module):
    """Mean and standard deviation of each feature over the patches of an image.

    Parameters
    ----------
    features : int
        Of each patch.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.width = 2 * features

    def forward(self, bags: torch.Tensor) -> torch.Tensor:
        """(batch, patches, features) to (batch, 2 features)."""
        every = bags.float()
        spread = (every.var(dim=1, correction=0) + _EPS).sqrt()
        return torch.cat([every.mean(dim=1), spread], dim=1).to(bags.dtype)


class OutcomeAlone(torch.nn.Module):
    """All outputs in training, and the outcome's logit alone afterwards, so that nothing else can be scored."""

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """(batch, 1 + indices) to itself in training, else to (batch, 1)."""
        return outputs if self.training else outputs[:, :1]


class Patched(torch.nn.Module):
    """A network that reads patches of an image, and sums up the bag of them.

    Parameters
    ----------
    body : Module
        From an image to a map.
    head : Module
        From the bags' features (batch, patches, features) to logits; its part ``pool`` sums up the map of a patch.
    design : Design
        How many patches, and how large.
    """

    def __init__(self, body: torch.nn.Module, head: torch.nn.Module, *, design: Design) -> None:
        super().__init__()
        self.add_module("0", body)
        self.add_module("1", head)
        self.design = design

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, y, x) to logits (batch, 1)."""
        body, head = self.get_submodule("0"), self.get_submodule("1")
        inside = bone_places(images, shell=self.design.shell)
        count = self.design.patches
        places = random_places(inside, count=count) if self.training else even_places(inside, count=count)
        features = head.get_submodule("pool")(body(cut_patches(images, places, pixels=self.design.patch_px)))
        bags = features.unflatten(0, (len(images), count))
        return head.get_submodule("logits")(head.get_submodule("bag")(bags))


def bone_places(images: torch.Tensor, *, shell: float) -> torch.Tensor:
    """The places of each image that lie between parts of its cortex, along both axes.

    Parameters
    ----------
    images : (batch, channels, y, x) Tensor
        As a network takes them, with what lies outside of the bone removed.
    shell : float
        What the cortex exceeds.

    Returns
    -------
    (batch, y, x) bool Tensor
        Everywhere True in an image that has no cortex.
    """
    bright = (images.float().amax(dim=1) > shell).int()
    inside = torch.ones_like(bright, dtype=torch.bool)
    for axis in (1, 2):  # sums, since MPS has no running maximum
        before = bright.cumsum(dim=axis, dtype=torch.int32)
        after = bright.flip(axis).cumsum(dim=axis, dtype=torch.int32).flip(axis)
        inside = inside & (before > 0) & (after > 0)
    return inside | ~inside.flatten(1).any(dim=1)[:, None, None]


def random_places(inside: torch.Tensor, *, count: int) -> torch.Tensor:
    """Random places within each bone, with replacement.

    Parameters
    ----------
    inside : (batch, y, x) bool Tensor
        From `bone_places`.
    count : int
        How many an image.

    Returns
    -------
    (batch, count, 2) int Tensor
        Row and column.
    """
    flat = torch.multinomial(inside.flatten(1).float(), count, replacement=True)
    return torch.stack([flat // inside.shape[2], flat % inside.shape[2]], dim=2)


def even_places(inside: torch.Tensor, *, count: int) -> torch.Tensor:
    """Places that cover each bone evenly, the same at every call: the first of Sobol's points that lie within it.

    Parameters
    ----------
    inside : (batch, y, x) bool Tensor
        From `bone_places`.
    count : int
        How many an image.

    Returns
    -------
    (batch, count, 2) int Tensor
        Row and column.
    """
    size = torch.tensor(inside.shape[1:])
    points = (torch.quasirandom.SobolEngine(2).draw(_PLACES) * size).long().to(inside.device)
    within = inside[:, points[:, 0], points[:, 1]]
    # Of bones of so few pixels that too few points hit them, the points before the first are taken again.
    order = torch.argsort((~within).int(), dim=1, stable=True)
    hits = within.sum(dim=1, keepdim=True).clamp(min=1)
    return points[order.gather(1, torch.arange(count, device=inside.device)[None] % hits)]


def cut_patches(images: torch.Tensor, places: torch.Tensor, *, pixels: int) -> torch.Tensor:
    """Square patches around places of images, moved inwards where they would reach beyond an edge.

    Parameters
    ----------
    images : (batch, channels, y, x) Tensor
        Any images.
    places : (batch, patches, 2) int Tensor
        Row and column of each patch's middle.
    pixels : int
        Along an edge of a patch; of an image that is smaller, the whole.

    Returns
    -------
    (batch × patches, channels, pixels, pixels) Tensor
        The patches of the first image, then those of the next.
    """
    edge = min(pixels, *images.shape[2:])
    limit = torch.tensor([side - edge for side in images.shape[2:]], device=places.device)
    first = torch.minimum((places - edge // 2).clamp(min=0), limit)
    along = first[..., None] + torch.arange(edge, device=places.device)  # (batch, patches, 2, edge)
    rows, columns = along[:, :, 0, :, None], along[:, :, 1, None, :]
    which = torch.arange(len(images), device=places.device)[:, None, None, None]
    patches = images.permute(0, 2, 3, 1)[which, rows, columns]
    return patches.flatten(0, 1).permute(0, 3, 1, 2)


def head_of(features: int, *, design: Design) -> torch.nn.Sequential:
    """A head: fastai's linear layers after the pooling, and after the bag if there is one.

    Parameters
    ----------
    features : int
        Channels of the body's map.
    design : Design
        What it is built for.
    """
    spread = design.pooling == "spread"
    pool = torch.nn.Sequential(SpreadPool() if spread else AdaptiveConcatPool2d(), Flatten())
    width = features * (3 if spread else 2)
    parts: dict[str, torch.nn.Module] = {"pool": pool}
    if design.patches:
        parts["bag"] = (SpreadBag if design.bag == "spread" else AttentionBag)(width)
        width = int(parts["bag"].width)  # type: ignore[arg-type]
    logits = create_head(width, 1 + design.targets, pool=False)
    parts["logits"] = torch.nn.Sequential(*logits, OutcomeAlone())
    head = torch.nn.Sequential()
    for name, part in parts.items():
        head.add_module(name, part)
    return head


def assembled(body: torch.nn.Module, features: int, *, design: Design) -> torch.nn.Module:
    """A whole network of a body and the head of a design.

    Parameters
    ----------
    body : Module
        From an image to a map.
    features : int
        Channels of that map.
    design : Design
        What the head is built for.

    Returns
    -------
    Module
        With the parts ``0``, the body, and ``1``, the head; initialised as fastai does it.
    """
    whole = add_head(body, features, 1, head=head_of(features, design=design))
    return Patched(whole[0], whole[1], design=design) if design.patches else whole
