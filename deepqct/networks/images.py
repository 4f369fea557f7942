"""What a network sees: images of one bone as fastai items, all on the same density scale, and their augmentation."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Self, cast

import fastai.vision.core  # noqa: F401 - it teaches tensors to be shown
import numpy as np
import torch
from fastai.torch_core import TensorImage
from fastai.vision.augment import AffineCoordTfm, DisplayedTransform, RandTransform, affine_mat, aug_transforms
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.curation.stacks import load_stack, of_bone
from deepqct.folder import Run, read_json
from deepqct.networks.recipe import BONE_MM, Recipe, View

# Fixed for every image: a density must look the same in every woman. Our choice, near the range of Neeteson 2023.
MEAN, SD = 0.4, 0.25
REMOVED = 0.0  # mgHA/cm³ of what is removed, about that of soft tissue
SILHOUETTE = 1000.0  # mgHA/cm³ of a bone of which only the outline is shown
RIM_MM = 1.0  # beyond the outline, where the bone still shines through
# Augmentation, our choice. Precision of Tt.vBMD is 0.5 to 0.7 % of about 300 mgHA/cm³ (Neeteson 2023,
# doi:10.1038/s41598-022-27350-0): a density may not be shifted by more than a second scan would.
TURN_DEGREES, SCALE, SHIFT = 15.0, 0.05, 0.04
NOISE_MGHA, DENSITY_SHIFT_MGHA = 20.0, 2.0
# Turning, scaling and shifting take each pixel from a place between pixels, so that every image of training is softer than
# the one on the disc. With this weight of the two neighbours along each axis, six trained networks of virtual radii give
# the mean logit of augmented views: 0.01 SD apart, where images as they lie on the disc are 0.7 SD apart.
_ASIDE = 0.085
# SD of a scanner's point spread in edges of its voxel: Gaussians that give a 10 % modulation at lines of 95 µm (voxels of
# 60.7 µm) and of 130 µm (82 µm; Burghardt 2011, doi:10.1007/s11999-010-1766-x) are 1.07 and 1.08 edges wide.
POINT_SPREAD = 1.08
_SAME = 0.03  # share by which voxels of one scanner differ


class BoneImage(TensorImage):
    """An image of one bone as fastai takes it: (channels, y, x), where 0 and 1 are the edges of the density window."""

    @classmethod
    def of(cls, item: Any, *, run: Run, bone: str, recipe: Recipe) -> Self:
        """The image that one row of `items_of` names.

        Parameters
        ----------
        item : named tuple
            With participant_id and image, its number in the stack.
        run : Run
            A curated run.
        bone : str
            radius, ulna, tibia or fibula.
        recipe : Recipe
            What the image is.
        """
        density = bone_images(run, item.participant_id, bone, view=recipe.view)[item.image].astype(np.float32)
        return cls(torch.from_numpy(np.clip((density - recipe.low) / (recipe.high - recipe.low), 0.0, 1.0)))

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw the middle slab in grey.

        Parameters
        ----------
        ctx : Axes, optional
            Where it is drawn; by default in a new figure.
        **kwargs
            As in `TensorImage.show`.
        """
        middle = self.shape[0] // 2
        return TensorImage(self[middle : middle + 1]).show(ctx=ctx, **{"cmap": "gray", "vmin": 0, "vmax": 1} | kwargs)


def bone_images(run: Run, participant_id: str, bone: str, *, view: View) -> NDArray[np.int16]:
    """All images of one woman's bone; they stay in memory, so that each stack is read once in a process.

    Parameters
    ----------
    run : Run
        A curated run.
    participant_id, bone : str
        The woman, and which of her bones.
    view : View
        What the images are.

    Returns
    -------
    (images, channels, y, x) int16, mgHA/cm³
        From the first slice of the stack to the last.

    Raises
    ------
    ValueError
        If the stack has fewer slices than images.
    """
    files = (
        run.stack(participant_id, bone),
        run.stack_mask(participant_id, bone),
        run.stack_record(participant_id, bone),
    )
    return _bone_images(run, participant_id, bone, view, tuple(file.stat().st_mtime_ns for file in files))


@lru_cache(maxsize=4096)
def _bone_images(run: Run, participant_id: str, bone: str, view: View, _: tuple[int, ...]) -> NDArray[np.int16]:
    """The images of `bone_images`, kept in memory as long as its files are the same."""
    density, mask, voxel_mm = load_stack(run, participant_id, bone)
    if view.match_mm:
        record = read_json(run.stack_record(participant_id, bone))
        density = matched(density, view=view, voxel_mm=voxel_mm, scan_mm=float(record["scan_voxel_mm"][1]))
    if density.shape[0] < view.images:
        raise ValueError(
            f"The stack of {participant_id}'s {bone} has {density.shape[0]} slices, fewer than {view.images} images; "
            "set images lower."
        )
    if view.control == "noise":
        rng = np.random.default_rng([view.seed, zlib.crc32(f"{participant_id} {bone}".encode())])
        pixels = view.pixels(bone, size=density.shape[1], pixel_mm=voxel_mm[1])
        noise = rng.normal(300.0, 300.0, (view.images, view.channels, pixels, pixels))
        return noise.astype(np.int16)
    kept = window(mask, bone, view=view, pixel_mm=voxel_mm[1], whose=participant_id)
    seen = _seen(density[kept], mask[kept], view=view, pixel_mm=voxel_mm[1])
    project = np.max if view.projection == "max" else np.mean
    slabs = _slabs(density.shape[0], voxel_mm[0], view=view)
    return np.stack(
        [np.stack([np.rint(project(seen[slab], axis=0)) for slab in image]).astype(np.int16) for image in slabs]
    )


def matched(
    density: NDArray[np.int16], *, view: View, voxel_mm: tuple[float, ...], scan_mm: float
) -> NDArray[np.int16]:
    """A stack as the coarser of two scanners would have resolved it, on the density scale of the finer one.

    Parameters
    ----------
    density : (z, y, x) int16, mgHA/cm³
        The stack.
    view : View
        With its match_mm, match_slope and match_intercept.
    voxel_mm : (z, y, x) mm
        Edges of the stack's voxels.
    scan_mm : float
        Edge of the voxels of the scan that it was cut from.

    Returns
    -------
    (z, y, x) int16, mgHA/cm³
        A finer scan smoothed; a scan of the coarser voxels, or of coarser ones still, by the line.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.networks import Recipe
    >>> from deepqct.networks.images import matched
    >>> point, view = np.zeros((9, 9, 9), np.int16), Recipe(match_mm=0.082, match_slope=1.1).view
    >>> point[4, 4, 4] = 1000
    >>> found = [matched(point, view=view, voxel_mm=(mm,) * 3, scan_mm=mm).max() for mm in (0.0607, 0.082)]
    >>> [int(value) for value in found]
    [67, 1100]
    """
    if scan_mm < (1 - _SAME) * view.match_mm:
        sigma = POINT_SPREAD * np.sqrt(view.match_mm**2 - scan_mm**2) / np.array(voxel_mm)
        smooth = ndimage.gaussian_filter(np.asarray(density, np.float32), sigma, mode="nearest")
        return np.rint(smooth).astype(np.int16)
    moved = view.match_slope * np.asarray(density, np.float32) + view.match_intercept
    return np.asarray(np.rint(moved).clip(-32768, 32767), np.int16)


def image_masks(run: Run, participant_id: str, bone: str, *, view: View) -> NDArray[np.uint8]:
    """The most frequent label of each pixel over the slices of each image.

    Parameters
    ----------
    run : Run
        A curated run.
    participant_id, bone : str
        The woman, and which of her bones.
    view : View
        What the images are.

    Returns
    -------
    (images, y, x) uint8
        Labels as in `deepqct.curation.stacks`.
    """
    mask, voxel_mm = seen_mask(run, participant_id, bone, view=view), load_stack(run, participant_id, bone)[2]
    labels = np.unique(mask)
    slabs = (np.unique(np.concatenate(image)) for image in _slabs(mask.shape[0], voxel_mm[0], view=view))
    counts = (np.stack([(mask[slices] == label).sum(axis=0) for label in labels]) for slices in slabs)
    return np.stack([labels[np.argmax(count, axis=0)] for count in counts]).astype(np.uint8)


def seen_mask(run: Run, participant_id: str, bone: str, *, view: View) -> NDArray[np.uint8]:
    """The labels of a stack in the square that images show.

    Parameters
    ----------
    run : Run
        A curated run.
    participant_id, bone : str
        The woman, and which of her bones.
    view : View
        What the images are.

    Returns
    -------
    (z, y, x) uint8
        Labels as in `deepqct.curation.stacks`.
    """
    _, mask, voxel_mm = load_stack(run, participant_id, bone)
    return mask[window(mask, bone, view=view, pixel_mm=voxel_mm[1], whose=participant_id)]


def _seen(density: NDArray[np.int16], mask: NDArray[np.uint8], *, view: View, pixel_mm: float) -> NDArray[np.float32]:
    """The densities of a stack without what the view hides."""
    inside = of_bone(mask)
    if view.control == "silhouette":
        return np.where(inside, np.float32(SILHOUETTE), np.float32(REMOVED))
    if view.control == "background":
        # Bones, and the rim into which they are blurred, get the density of what surrounds them in that slice.
        disc, width = ndimage.generate_binary_structure(2, 1)[None], max(round(RIM_MM / pixel_mm), 1)
        hidden = ndimage.binary_dilation(mask > 0, disc, iterations=width)
        around = ndimage.binary_dilation(hidden, disc, iterations=width) & ~hidden
        fill = [np.median(d[a]) if a.any() else REMOVED for d, a in zip(density, around, strict=True)]
        return np.where(hidden, np.array(fill, np.float32)[:, None, None], density).astype(np.float32)
    if view.background == "remove":
        return np.where(inside, density, np.float32(REMOVED)).astype(np.float32)
    return density.astype(np.float32)


def window(
    mask: NDArray[np.uint8], bone: str, *, view: View, pixel_mm: float, whose: str
) -> tuple[slice, slice, slice]:
    """The slices, rows and columns of a stack that images show: a square, as wide in every woman.

    Parameters
    ----------
    mask : (z, y, x) uint8
        Labels of the stack, whose slices are square.
    bone : str
        radius, ulna, tibia or fibula.
    view : View
        Its field and crop.
    pixel_mm : float
        Edge of a pixel.
    whose : str
        The woman, for the message of an error.

    Raises
    ------
    ValueError
        If her bone is wider than the field of such a bone.
    """
    size = mask.shape[1]
    edge = view.edge(bone, size=size, pixel_mm=pixel_mm)
    start = [0, 0]
    if view.field == "bone":
        inside: NDArray[np.bool_] = np.any(of_bone(mask), axis=0)
        for axis in (0, 1):
            (there,) = np.nonzero(np.any(inside, axis=1 - axis))
            first, end = (int(there[0]), int(there[-1]) + 1) if there.size else (0, size)
            if there.size and end - first > edge:
                raise ValueError(
                    f"The {bone} of {whose} is {(end - first) * pixel_mm:.0f} mm wide, and field=bone keeps "
                    f"{BONE_MM[bone]:g} mm; set field=whole, or reject her scan if its outline is wrong."
                )
            start[axis] = min(max((first + end - edge) // 2, 0), size - edge)
    kept = round(edge * view.crop)
    rows, columns = (slice(begin + (edge - kept) // 2, begin + (edge - kept) // 2 + kept) for begin in start)
    return slice(None), rows, columns


def _slabs(slices: int, slice_mm: float, *, view: View) -> list[list[NDArray[np.intp]]]:
    """The slices of each slab of each image: equal shares of the stack, and in each share equal distances."""
    slabs = []
    for share in np.array_split(np.arange(slices), view.images):
        if view.slab_mm == 0 and len(share) >= view.channels:
            slabs.append(np.array_split(share, view.channels))
            continue
        thick = min(max(round(view.slab_mm / slice_mm), 1), len(share))
        starts = np.rint(np.linspace(0, len(share) - thick, view.channels)).astype(int)
        slabs.append([share[start : start + thick] for start in starts])
    return slabs


def augmentation(recipe: Recipe) -> list[Callable[..., Any]]:
    """Fastai's batch transforms for training; apart from a little noise they do not change densities.

    Fastai's changes of lighting and its warping are left out, since they would.

    Parameters
    ----------
    recipe : Recipe
        Whether to augment, and the density window.

    Returns
    -------
    list of callable
        Empty without augmentation. The last one acts on images that are scored as they are: it softens them as the others
        soften those of training.
    """
    if not recipe.augment:
        return []
    window = recipe.high - recipe.low
    move = AffineCoordTfm(aff_fs=_shift, pad_mode="border", align_corners=True)
    shapes = aug_transforms(
        max_rotate=TURN_DEGREES, min_zoom=1 - SCALE, max_zoom=1 + SCALE, max_lighting=0, max_warp=0,
        pad_mode="border", xtra_tfms=[move],
    )  # fmt: skip
    return [*shapes, DensityNoise(noise=NOISE_MGHA / window, shift=DENSITY_SHIFT_MGHA / window), Softening()]


def softened(images: torch.Tensor) -> torch.Tensor:
    """Images as soft as those of training, which augmentation takes from between the pixels.

    Parameters
    ----------
    images : (images, channels, y, x) Tensor
        As `BoneImage` gives them.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    across = (1 - 2 * _ASIDE) * padded[..., 1:-1] + _ASIDE * (padded[..., :-2] + padded[..., 2:])
    return (1 - 2 * _ASIDE) * across[..., 1:-1, :] + _ASIDE * (across[..., :-2, :] + across[..., 2:, :])


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Images as the network takes them: plain tensors whose values lie around 0.

    Parameters
    ----------
    images : (images, channels, y, x) Tensor
        As `BoneImage` gives them.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    return (torch.Tensor(images) - MEAN) / SD


def _shift(x: torch.Tensor) -> torch.Tensor:
    """A small random shift of each image, as the matrix that fastai combines with those of turning and scaling."""
    ones, zeros = x.new_ones(x.size(0)), x.new_zeros(x.size(0))
    along = [x.new_empty(x.size(0)).uniform_(-2 * SHIFT, 2 * SHIFT) for _ in range(2)]  # the field is 2 units wide
    return affine_mat(ones, zeros, along[0], zeros, ones, along[1])


class DensityNoise(RandTransform):
    """A transform that adds noise to each pixel and one slight shift of density to each image.

    Parameters
    ----------
    noise, shift : float
        Standard deviations of the two, as shares of the density window.
    """

    order = 35  # after the shapes, before normalising

    def __init__(self, *, noise: float, shift: float) -> None:
        super().__init__(p=1.0)
        self.noise, self.shift = noise, shift

    def encodes(self, x: BoneImage) -> BoneImage:  # noqa: D102
        shift = torch.randn(x.shape[0], 1, 1, 1, device=x.device) * self.shift
        return cast(BoneImage, x + torch.randn_like(x) * self.noise + shift)


class Softening(DisplayedTransform):
    """A transform of the images that are scored as they are: they get as soft as those of training."""

    order, split_idx = 35, 1

    def encodes(self, x: BoneImage) -> BoneImage:  # noqa: D102
        return cast(BoneImage, softened(x))
