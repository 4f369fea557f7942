"""The settings that decide what a network sees and how it learns.

All defaults are our choice; the abstract of the preprint (Chen 2024) names ResNet34 only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Self

from deepqct.folder import resolve
from deepqct.scans.shown import card

BACKGROUNDS = ("remove", "keep")
PROJECTIONS = ("mean", "max")
FIELDS = ("whole", "bone")
# Edge in mm of the square that field=bone keeps around a bone. Our choice: it holds every bone of 10,000 virtual women, and
# the largest published radius and tibia (`deepqct.bones.quality.PUBLISHED`, women and men) in the shape of the mean.
BONE_MM = {"radius": 32.0, "ulna": 15.5, "tibia": 41.0, "fibula": 22.0}
POOLINGS = ("concat", "spread")
BAGS = ("attention", "spread")
FIRST = ("published", "fine")
TOLD = ("indices", "texture", "both")
SMALLEST_PATCH = 16  # pixels along an edge; a ResNet halves it five times
WEIGHTS = ("imagenet", "none")
LEARNS = ("all", "late", "head")
# Controls change what the images show, or which outcome is learnt; see controls.py.
CONTROLS = ("permuted", "noise", "background", "silhouette")


@dataclass(frozen=True)
class View:
    """The settings of a `Recipe` that decide what the images of a bone are.

    Parameters
    ----------
    images, channels, slab_mm, projection, field, crop, background, match_mm, match_slope, match_intercept
        As in `Recipe`.
    control : str
        As in `Recipe`; none for permuted outcomes, which change no image.
    seed : int
        As in `Recipe` for images of noise, else 0.
    """

    images: int
    channels: int
    slab_mm: float
    projection: str
    field: str
    crop: float
    background: str
    control: str
    seed: int
    match_mm: float = 0.0
    match_slope: float = 1.0
    match_intercept: float = 0.0

    def edge(self, bone: str, *, size: int, pixel_mm: float) -> int:
        """Pixels along an edge of the square that is kept before `crop`: the same for every woman.

        Parameters
        ----------
        bone : str
            radius, ulna, tibia or fibula.
        size : int
            Pixels along an edge of the stack.
        pixel_mm : float
            Edge of a pixel in mm.
        """
        return size if self.field == "whole" else min(size, math.ceil(BONE_MM[bone] / pixel_mm))

    def pixels(self, bone: str, *, size: int, pixel_mm: float) -> int:
        """Pixels along an edge of an image.

        Parameters
        ----------
        bone, size, pixel_mm
            As in `edge`.
        """
        return round(self.edge(bone, size=size, pixel_mm=pixel_mm) * self.crop)


@dataclass(frozen=True)
class Recipe:
    """The settings of what a network sees and how it learns; they are written beside its weights.

    Parameters
    ----------
    arch : str
        Name of a torchvision or timm backbone; the preprint's is resnet34.
    weights : str
        The weights that training begins with: ``imagenet``, from torch's cache or the internet; ``none``, random ones;
        or the path of a safetensors file, of a network of ours that was trained on other patients, or of a backbone.
    learns : str
        Which layers learn: ``all``; ``late``, the head and the later layers, as fastai splits the backbone (of a ResNet
        its third and fourth blocks); ``head``. All but ``all`` need weights to begin with; layers that norm maps always
        learn.
    epochs : int
        Length of the one-cycle schedule. Unless weights is none, one epoch in which only the head learns comes before.
    batch_size : int
        Images in one step of training.
    lr : float
        The highest learning rate of the schedule. Unless weights is none, the head alone learns at this rate;
        afterwards, as in fastai's ``fine_tune``, the head at half of it and earlier layers at less, down to 1/200.
    wd : float
        Weight decay of AdamW, of all weights.
    ensemble : int
        How many networks are trained for each fold, each from a seed of its own; a patient's score is the mean of their
        logits.
    images : int
        Images cut from each stack, from the first slice of the file to the last.
    channels : int
        Slabs of each image.
    slab_mm : float
        Thickness of a slab in mm; 0 for slabs that fill the stack.
    projection : str
        ``mean`` or ``max`` density across a slab.
    field : str
        ``whole`` keeps the field of the stack; ``bone`` a square around each woman's bone, as wide as such a bone can be
        (`BONE_MM`) and moved by whole pixels: fewer pixels, and nothing of a bone is lost.
    crop : float
        Edge of the square around the middle of the field that is kept, as a share of the field's edge; 1 keeps all.
    low, high : float, mgHA/cm³
        The edges of the density window, the same for all images; densities outside are set to the nearer edge.
    background : str
        ``remove`` sets voxels outside the bone to 0 mgHA/cm³; ``keep`` leaves them.
    match_mm : float
        For cohorts of two scanners: edge of a voxel of the coarser one, 0.082 for the first XtremeCT. Finer scans are
        smoothed to what it resolves before images are cut, in training and whenever scored, also from a bundle; 0 leaves
        all as they are.
    match_slope, match_intercept : float
        With `match_mm`, the line that turns the coarser scanner's densities into the finer one's, as
        `deepqct.evaluation.deming` gives it for women or a phantom scanned on both.
    augment : bool
        Whether images are turned, mirrored, shifted, scaled and made noisy in training.
    tta : int
        How many augmented views are scored beside the plain one (test-time augmentation).
    first : str
        Stride of the backbone's first layer: ``published``, as its authors have it; ``fine``, 1, so that the network sees
        each pixel of structure that is a few pixels wide, at four times the computing.
    pooling : str
        How the head sums up a map: ``concat``, by mean and maximum as fastai does; ``spread``, by mean, maximum and
        standard deviation, so that it can tell an even bone from one with holes in it.
    patches : int
        0 reads each image whole. Above 0, so many patches of it are read at the stack's own pixels, and a bag of them gives
        the logit: random places within the bone in training, a fixed even set when scored. Saliency needs 0.
    patch_mm : float
        Edge of a patch in mm.
    bag : str
        How patches are summed up: ``attention``, a weighted mean whose weights are learnt (Ilse et al. 2018,
        arXiv:1802.04712); ``spread``, mean and standard deviation.
    auxiliary : float
        Weight of the squared error with which the network also tells what was measured in the same bone of the women whom
        it is trained on (standardised in these women); 0 teaches the outcome alone. Nothing of it is part of a score.
    told : str
        What `auxiliary` tells: ``indices`` (indices.csv), ``texture`` (texture.csv), or ``both``.
    control : str
        ``none``, or one of `CONTROLS`; set by `deepqct.networks.run_controls`.
    seed : int
        The seed from which each protocol, repeat and fold derives a separate one.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.Recipe(epochs=3, crop=0.8).arch
    'resnet34'
    >>> dq.Recipe(epochs=3, crop=0.8)
    Recipe(epochs=3, crop=0.8)
    >>> dq.Recipe(crop=1.5)
    Traceback (most recent call last):
        ...
    ValueError: crop must lie above 0 and up to 1; slab_mm and tta must be 0 or more.
    """

    arch: str = "resnet34"
    weights: str = "none"
    learns: str = "all"
    epochs: int = 8
    batch_size: int = 16
    lr: float = 1e-3
    wd: float = 0.01
    ensemble: int = 1
    images: int = 2
    channels: int = 3
    slab_mm: float = 0.0
    projection: str = "mean"
    field: str = "whole"
    crop: float = 1.0
    low: float = -400.0
    high: float = 1400.0
    background: str = "remove"
    match_mm: float = 0.0
    match_slope: float = 1.0
    match_intercept: float = 0.0
    augment: bool = True
    tta: int = 0
    first: str = "published"
    pooling: str = "concat"
    patches: int = 0
    patch_mm: float = 6.0
    bag: str = "attention"
    auxiliary: float = 0.0
    told: str = "indices"
    control: str = "none"
    seed: int = 7

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """The recipe that a notebook's parameters describe.

        A parameter ``control`` is ignored, since a bone's own networks are never those of a control.

        Parameters
        ----------
        parameters : mapping
            Names and values; what is no setting of a recipe is ignored, and what is missing keeps its default.
        """
        names = [field.name for field in fields(cls) if field.name != "control"]
        return cls(**{name: parameters[name] for name in names if name in parameters})

    def __repr__(self) -> str:
        """The call that makes this recipe: its settings other than the defaults."""
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in self._changed().items())})"

    def _repr_html_(self) -> str:
        """Every setting for a notebook; those other than the defaults come first."""
        changed = self._changed()
        kept = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in changed}
        rows = {
            **{f"{name} (changed)": value for name, value in changed.items()},
            "by default": ", ".join(f"{name} {value}" for name, value in kept.items()),
        }
        then = {
            'dq.cross_validate(run, bone="radius", recipe=recipe)': "trains a network for each fold",
            "dataclasses.replace(recipe, epochs=20)": "is a recipe with another setting",
        }
        return card("Recipe", rows, then=then)

    def _changed(self) -> dict[str, Any]:
        """The settings that differ from the defaults, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {field.name: values[field.name] for field in fields(self) if values[field.name] != field.default}

    def patch_px(self, pixel_mm: float) -> int:
        """Pixels along an edge of a patch; 0 if images are read whole.

        Parameters
        ----------
        pixel_mm : float
            Edge of a pixel of the stacks in mm.

        Raises
        ------
        ValueError
            If a network cannot read patches of so few pixels.
        """
        pixels = round(self.patch_mm / pixel_mm) if self.patches else 0
        if self.patches and pixels < SMALLEST_PATCH:
            raise ValueError(
                f"patch_mm is {self.patch_mm:g}, which is {pixels} pixels of {pixel_mm:.2g} mm, and a network reads "
                f"{SMALLEST_PATCH} or more; raise patch_mm, or image_px in 01."
            )
        return pixels

    @property
    def view(self) -> View:
        """The settings of the images alone; they are equal for two recipes that differ in training only."""
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
        choices = {
            "background": BACKGROUNDS, "projection": PROJECTIONS, "field": FIELDS, "pooling": POOLINGS, "bag": BAGS,
            "told": TOLD, "first": FIRST, "learns": LEARNS,
            "control": ("none", *CONTROLS),
        }  # fmt: skip
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} is {value!r}; use one of {', '.join(known)}.")
        if self.weights not in WEIGHTS and not self.weights.endswith(".safetensors"):
            raise ValueError(f"weights is {self.weights!r}; use one of {', '.join(WEIGHTS)}, or a .safetensors file.")
        if self.weights not in WEIGHTS and not resolve(self.weights).is_file():
            raise ValueError(f"weights is {self.weights!r}, which is no file; give its path.")
        if self.learns != "all" and self.weights == "none":
            raise ValueError(
                f"learns is {self.learns!r} and weights none, so that most layers would stay random; give weights, or "
                "learns=all."
            )
        if self.arch != Recipe.arch and self.arch not in known_archs():
            raise ValueError(f"arch is {self.arch!r}, which neither torchvision nor timm has; the paper's is resnet34.")
        if min(self.epochs, self.batch_size, self.images, self.channels) < 1 or self.lr <= 0 or self.low >= self.high:
            raise ValueError("epochs, batch_size, images and channels must be 1 or more, lr above 0, low below high.")
        if self.batch_size == 1:
            raise ValueError("batch_size is 1, and layers that norm maps need 2 images or more; raise it.")
        if not 0 < self.crop <= 1 or self.slab_mm < 0 or self.tta < 0:
            raise ValueError("crop must lie above 0 and up to 1; slab_mm and tta must be 0 or more.")
        if not 0 <= self.match_mm <= 1 or self.match_slope <= 0:
            raise ValueError("match_mm is the edge of a voxel in mm, 0 to 1, and match_slope must lie above 0.")
        if self.match_mm == 0 and (self.match_slope, self.match_intercept) != (1.0, 0.0):
            raise ValueError(
                "match_slope and match_intercept turn densities of the coarser scanner: give match_mm too."
            )
        if self.ensemble < 1 or self.wd < 0 or self.patches < 0 or self.auxiliary < 0 or self.patch_mm <= 0:
            raise ValueError(
                "ensemble must be 1 or more; wd, patches and auxiliary 0 or more; patch_mm must lie above 0."
            )
        if self.patches and self.background != "remove":
            raise ValueError(
                "patches are cut within the bone, which shows only with background=remove; set it, or patches=0."
            )


@cache
def known_archs() -> frozenset[str]:
    """The names of all backbones that torchvision and timm have."""
    import timm
    from torchvision import models

    return frozenset(models.list_models(module=models)) | frozenset(timm.list_models())
