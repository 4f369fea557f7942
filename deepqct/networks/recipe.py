"""Everything that decides what a network sees and learns. All defaults are our choice; the abstract names ResNet34 only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Self

from deepqct.folder import resolve

BACKGROUNDS = ("remove", "keep")
PROJECTIONS = ("mean", "max")
WEIGHTS = ("imagenet", "none")
# What a control shows in place of the bone, or whose outcome it learns; see controls.py.
CONTROLS = ("permuted", "noise", "background", "silhouette")


@dataclass(frozen=True)
class View:
    """The part of a `Recipe` that decides what the images of a bone are; see there."""

    images: int
    channels: int
    slab_mm: float
    projection: str
    crop: float
    background: str
    control: str
    seed: int


@dataclass(frozen=True)
class Recipe:
    """What a network sees and how it learns; written beside its weights.

    Parameters
    ----------
    arch : str
        A torchvision or timm backbone by name; the paper's is resnet34.
    weights : str
        ``imagenet``, from torch's cache or the internet; ``none``, random; or a safetensors file: a network of ours that
        was trained on other patients, or the backbone's own.
    epochs, batch_size : int
        Length of the one-cycle schedule, after one epoch of the head alone where weights are given; images a step.
    lr : float
        Its highest learning rate. Where weights are given, that of the epoch of the head alone; then, as fastai's
        ``fine_tune`` has it, half of it for the head, down to a two-hundredth for the first layers.
    images : int
        Images cut from each stack, from the first slice of the file to the last.
    channels : int
        Slabs of each image.
    slab_mm : float
        Thickness of a slab in mm; 0 for slabs that fill the stack.
    projection : str
        ``mean`` or ``max`` density across a slab.
    crop : float
        Edge of what is kept of the field around the middle of the bone, as a share; 1 keeps all.
    low, high : float, mgHA/cm³
        The fixed density window.
    background : str
        ``remove``: voxels outside the bone become 0 mgHA/cm³; ``keep``.
    augment : bool
        Turn, mirror, shift, scale and add noise in training.
    tta : int
        Augmented views beside the plain one when a patient is scored.
    control : str
        ``none``, or one of `CONTROLS`; set by `deepqct.networks.run_controls`.
    seed : int
        Each protocol, repeat and fold derives its own.
    """

    arch: str = "resnet34"
    weights: str = "none"
    epochs: int = 8
    batch_size: int = 16
    lr: float = 1e-3
    images: int = 2
    channels: int = 3
    slab_mm: float = 0.0
    projection: str = "mean"
    crop: float = 1.0
    low: float = -400.0
    high: float = 1400.0
    background: str = "remove"
    augment: bool = True
    tta: int = 0
    control: str = "none"
    seed: int = 7

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """The recipe among a notebook's parameters; ``control`` is none of them, since it is no way to train a bone."""
        names = [field.name for field in fields(cls) if field.name != "control"]
        return cls(**{name: parameters[name] for name in names if name in parameters})

    @property
    def view(self) -> View:
        """What the images are: the same for two recipes that differ in training only."""
        values = {field.name: getattr(self, field.name) for field in fields(View)}
        values["control"] = "none" if self.control == "permuted" else self.control
        values["seed"] = self.seed if self.control == "noise" else 0
        return View(**values)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises
        ------
        ValueError
            Naming the parameter, its value and what it may be.
        """
        for name, known in (("background", BACKGROUNDS), ("projection", PROJECTIONS), ("control", ("none", *CONTROLS))):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} is {value!r}; use one of {', '.join(known)}.")
        if self.weights not in WEIGHTS and not self.weights.endswith(".safetensors"):
            raise ValueError(f"weights is {self.weights!r}; use one of {', '.join(WEIGHTS)}, or a .safetensors file.")
        if self.weights not in WEIGHTS and not resolve(self.weights).is_file():
            raise ValueError(f"weights is {self.weights!r}, which is no file; give its path.")
        if self.arch != Recipe.arch and self.arch not in known_archs():
            raise ValueError(f"arch is {self.arch!r}, which neither torchvision nor timm has; the paper's is resnet34.")
        if min(self.epochs, self.batch_size, self.images, self.channels) < 1 or self.lr <= 0 or self.low >= self.high:
            raise ValueError("epochs, batch_size, images and channels must be 1 or more, lr above 0, low below high.")
        if not 0 < self.crop <= 1 or self.slab_mm < 0 or self.tta < 0:
            raise ValueError("crop must lie above 0 and up to 1; slab_mm and tta must be 0 or more.")


@cache
def known_archs() -> frozenset[str]:
    """Names of the backbones that torchvision and timm have."""
    import timm
    from torchvision import models

    return frozenset(models.list_models(module=models)) | frozenset(timm.list_models())
