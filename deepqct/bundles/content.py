"""What a bundle holds beside the weights: settings, models, reference and limits, as plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from deepqct.bundles.grouping import Grouping
from deepqct.bundles.plain import from_plain
from deepqct.bundles.reference import LEVELS, Cloud, Reference
from deepqct.bundles.source import BundleError, Source
from deepqct.bundles.weights import read_network, read_tensors
from deepqct.models.frozen import Frozen, Line, Mean
from deepqct.models.scanners import Scale
from deepqct.networks.recipe import Recipe
from deepqct.terms import BONES, SITES

CONTENT, CARD = "bundle.json", "card.json"
_MOST = {"images": 256, "channels": 32, "tta": 64, "ensemble": 64, "patches": 4096, "batch_size": 4096}
_PIXELS = (16, 1024)


@dataclass(frozen=True)
class Made:
    """Where a bundle comes from.

    Parameters
    ----------
    deepqct : str
        The version that made it.
    outcome : str
        The column that the models tell.
    virtual : str
        The scenario of virtual women; empty for patients.
    protocol, repeat : str, int
        Of splits.csv: whose networks the bundle holds.
    folds : tuple of str
        The folds, of each of which every bone has its network.
    n, events : int
        Women whom the models were fitted on, and those of them with the outcome.
    test : int
        Women of the run's own test set, whom no model, range or limit was fitted on; patient groups are found among all.
    stacking : str
        standard or strict.
    """

    deepqct: str
    outcome: str
    virtual: str
    protocol: str
    repeat: int
    folds: tuple[str, ...]
    n: int
    events: int
    test: int
    stacking: str


@dataclass(frozen=True)
class Curated:
    """How the training scans were curated, and what scans they were.

    Parameters
    ----------
    image_px : int
        Pixels along an edge of a bone's stack.
    scan_stack : str
        As in `deepqct.curate`.
    strength : str
        As in `deepqct.curate`.
    unusual : bool
        Whether voxels and calibrations that no HR-pQCT scanner has were allowed.
    code : str
        A hash of the code that curated them.
    voxel_mm : dict of str to tuple
        For each site, the smallest and the largest edge of a voxel across slices, then within them.
    length_mm : dict of str to tuple
        For each site, the shortest and the longest stack.
    motion_limit : float, mgHA/cm³
        The motion score above which a scan is not used.
    """

    image_px: int
    scan_stack: str
    strength: str
    unusual: bool
    code: str
    voxel_mm: dict[str, tuple[float, float, float, float]]
    length_mm: dict[str, tuple[float, float]]
    motion_limit: float


@dataclass(frozen=True)
class FoldNetwork:
    """The networks of one fold.

    Parameters
    ----------
    fold : str
        The fold that they have not seen.
    weights : tuple of str
        Their files; one, or those of an ensemble.
    summary : str
        The file with the reference woman that saliency compares with, and where the training women lie in the features.
    usual : tuple of int
        The shape of that woman's map; empty where the networks have no maps.
    features, axes : int
        How many features the last layer has, and how many directions of them are kept.
    level : float
        The mean score of the fold's own women.
    """

    fold: str
    weights: tuple[str, ...]
    summary: str
    usual: tuple[int, ...]
    features: int
    axes: int
    level: float


@dataclass(frozen=True)
class BoneNetworks:
    """All networks of one bone.

    Parameters
    ----------
    recipe : Recipe
        What they see.
    pixel_mm : float
        Edge of a pixel of the stacks.
    targets : int
        How many indices they were told beside the outcome.
    folds : tuple of FoldNetwork
        One for each fold.
    feature_limit : float
        The mean distance over networks from which a woman counts as outside.
    above_chance : bool
        Whether the whole interval of their AUC, out of fold in the bundle's protocol, lay above 0.5.
    """

    recipe: Recipe
    pixel_mm: float
    targets: int
    folds: tuple[FoldNetwork, ...]
    feature_limit: float
    above_chance: bool


@dataclass(frozen=True)
class Content:
    """What bundle.json holds, beside the weights.

    Parameters
    ----------
    made, curated
        Where it comes from.
    predictors : dict of str to str
        The columns of a table of participants that models take, and the role of each.
    networks : dict of str to BoneNetworks
        By bone.
    models : tuple of Frozen
        Every model of the run, refitted on all training women.
    primary : int
        The number of the model whose risk is reported.
    reference : Reference
        What is usual in the training women.
    sizes : dict of str to tuple
        For radius and tibia, the smallest and the largest cross-section in mm² that counts as the training women's.
    clouds : dict of str to Cloud
        For each bone, where the training women's indices lie.
    groups : Grouping or None
        The patient groups; None where 04 has not run.
    trained_on : tuple of str
        Beginnings of the hashes of the training scans, if the bundle was made with fingerprints.
    scale : Scale or None
        Where the run was cross-calibrated, what each scanner adds to the indices; it names the scanners.
    """

    made: Made
    curated: Curated
    predictors: dict[str, str]
    networks: dict[str, BoneNetworks]
    models: tuple[Frozen, ...]
    primary: int
    reference: Reference
    sizes: dict[str, tuple[float, float]]
    clouds: dict[str, Cloud]
    groups: Grouping | None
    trained_on: tuple[str, ...]
    scale: Scale | None = None


@dataclass(frozen=True)
class Bundle:
    """A trained model outside of its cohort; the weights are read when they are needed.

    Parameters
    ----------
    source : Source
        Its files.
    content : Content
        What its bundle.json holds.
    card : dict
        The model card.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.bundles.example_bundle()
    Bundle(fracture from radius, tibia; 2 folds' networks, 12 women, 5 events, VIRTUAL)
    """

    source: Source = field(repr=False)
    content: Content
    card: dict[str, object] = field(repr=False)

    @property
    def primary(self) -> Frozen:
        """The model whose risk is reported."""
        return self.content.models[self.content.primary]

    def __repr__(self) -> str:
        """Say outcome, bones and size; no file is read."""
        made = self.content.made
        virtual = ", VIRTUAL" if made.virtual else ""
        return (
            f"Bundle({made.outcome} from {', '.join(self.content.networks)}; {len(made.folds)} folds' networks, {made.n} "
            f"women, {made.events} events{virtual})"
        )

    def network(self, bone: str, file: str) -> torch.nn.Module:
        """One network, read and checked.

        Parameters
        ----------
        bone : str
            radius, ulna, tibia or fibula.
        file : str
            The file of its weights.

        Raises
        ------
        BundleError
            If the file does not hold the weights of the recipe's network.
        """
        of_bone = self.content.networks[bone]
        return read_network(
            self.source, file, recipe=of_bone.recipe, pixel_mm=of_bone.pixel_mm, targets=of_bone.targets
        )

    def summary(self, network: FoldNetwork) -> dict[str, torch.Tensor]:
        """The reference woman and the training women's range of one fold's networks.

        Parameters
        ----------
        network : FoldNetwork
            Of one bone.

        Raises
        ------
        BundleError
            If the file does not hold them.
        """
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        for number in range(len(network.weights)):
            if network.usual:
                shapes |= {f"{number}.usual": ("F32", network.usual), f"{number}.logit": ("F32", (1,))}
            if network.axes:
                parts = {"mean": (network.features,), "axes": (network.axes, network.features)}
                parts |= {"variances": (network.axes,), "rest": (1,)}
                shapes |= {f"{number}.{name}": ("F32", shape) for name, shape in parts.items()}
        tensors: dict[str, torch.Tensor] = read_tensors(self.source, network.summary, shapes=shapes)
        return tensors


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle, from a folder or a zip, without trusting it.

    Parameters
    ----------
    path : str or Path
        What `deepqct bundle` made.

    Returns
    -------
    Bundle
        Every file has been compared with the manifest, and every number of bundle.json checked. Nothing is unpickled.

    Raises
    ------
    BundleError
        If a file is missing, changed, a link, or not what the manifest, the recipe or the format say.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.load_bundle(dq.bundles.example_bundle().source.path).primary.model.name
    'mean of radius + tibia'
    """
    source = Source.open(Path(path))
    content = from_plain(Content, source.read_json(CONTENT), where="bundle.json")
    _check(content)
    for bone, networks in content.networks.items():
        for one in networks.folds:
            absent = [name for name in (*one.weights, one.summary) if name not in source.files]
            _need(not absent, f"the {bone} lacks a file of fold {one.fold[:20]}")
    card = source.read_json(CARD)
    if not isinstance(card, dict):
        raise BundleError(f"{CARD} is no model card; copy the bundle again from where it was made.")
    return Bundle(source, content, card)


def _check(content: Content) -> None:
    """Refuse numbers that do not fit together, or sizes that no run has."""
    made, curated = content.made, content.curated
    _need(0 <= content.primary < len(content.models), "primary is the number of no model")
    _need(_PIXELS[0] <= curated.image_px <= _PIXELS[1], f"image_px is {curated.image_px}")
    _need(curated.motion_limit > 0, "there is no limit of motion")
    _need(set(curated.voxel_mm) <= set(SITES) and set(curated.voxel_mm) == set(curated.length_mm), "a site is unknown")
    _need(1 < len(made.folds) <= 1000 and len(set(made.folds)) == len(made.folds), "the folds are not those of a run")
    _need(len(content.networks) > 0 and set(content.networks) <= set(BONES), "a bone is unknown")
    for bone, networks in content.networks.items():
        recipe = networks.recipe
        for name, most in _MOST.items():
            _need(getattr(recipe, name) <= most, f"{name} of the {bone} is {getattr(recipe, name)}")
        _need(recipe.weights == "none" and recipe.control == "none", f"the recipe of the {bone} is no bundle's")
        _need(0.01 < networks.pixel_mm < 10 and 0 <= networks.targets <= 256, f"the pixels of the {bone} cannot be")
        _need([one.fold for one in networks.folds] == list(made.folds), f"the {bone} lacks networks of a fold")
        _need(networks.feature_limit > 0, f"the networks of the {bone} have no limit of what they know")
        for one in networks.folds:
            _need(len(one.weights) == recipe.ensemble, f"the {bone} lacks networks of its ensemble")
            sizes = (one.features, one.axes, *one.usual)
            _need(all(0 <= size <= 1_000_000 for size in sizes) and len(one.usual) in (0, 4), "a map cannot be")
            _need(one.axes * one.features + math.prod(one.usual or (0,)) <= 2**28, "a map cannot be")
    for model in content.models:
        _check_model(model, folds=set(made.folds))
    for usual in content.reference.indices.values():
        _need(len(usual.quantiles) == len(LEVELS), "the reference has other percentiles")
    for cloud in content.clouds.values():
        _check_square(cloud.precision, len(cloud.columns), "a range of indices")
        _need(len(cloud.means) == len(cloud.scales) == len(cloud.columns), "a range of indices does not fit together")
        _need(all(math.isfinite(mean) for mean in cloud.means), "a range of indices has numbers that are not finite")
        _need(cloud.limit > 0 and all(scale > 0 for scale in cloud.scales), "a range of indices has no limit")
    if content.groups is not None:
        _check_groups(content.groups)
    if (scale := content.scale) is not None:
        lengths = {len(row) for row in scale.added.values()} | {len(scale.columns)}
        _need(len(lengths) == 1 and scale.reference not in scale.added, "the scale of scanners does not fit together")
        _need(
            all(math.isfinite(number) for row in scale.added.values() for number in row),
            "the scale of scanners has numbers that are not finite",
        )


def _check_model(one: Frozen, *, folds: set[str]) -> None:
    """Refuse a model whose numbers do not belong together."""
    how, name = one.how, f"the model {one.model.name[:60]!r}"
    if isinstance(how, Line):
        sizes = {len(part) for part in (how.columns, how.medians, how.means, how.scales, how.coefficients)}
        _need(len(sizes) == 1, f"{name} has not as many numbers as columns")
        _need(all(scale > 0 for scale in how.scales), f"{name} divides by 0")
        numbers = (*how.medians, *how.means, *how.coefficients, how.intercept, how.level)
    else:
        assert isinstance(how, Mean)
        _need(len(how.columns) == len(how.sizes) > 0, f"{name} has not as many numbers as columns")
        _need(set(how.levels) == folds and all(size > 0 for size in how.sizes), f"{name} lacks levels or sizes")
        _need(how.calibration.scale > 0, f"{name} divides by 0")
        numbers = (*how.levels.values(), how.calibration.centre, how.calibration.slope, how.calibration.intercept)
    _need(all(math.isfinite(number) for number in numbers), f"{name} has numbers that are not finite")
    _need(0 < one.prior < 1 and one.networks in (0, len(folds)), f"{name} was fitted on nobody")


def _check_groups(groups: Grouping) -> None:
    """Refuse groups whose numbers do not belong together."""
    columns, names, parts = len(groups.columns), len(groups.adjusted_for), len(groups.axes)
    count = len(groups.centres)
    rows = (groups.means, groups.scales, groups.powers, groups.power_means, groups.power_scales, groups.axes_mean)
    _need(all(len(row) == columns for row in rows) and columns > 0, "the groups do not fit together")
    _check_square(groups.covariance, columns, "the groups")
    _check_square(groups.inverse, columns, "the groups")
    _need(all(len(row) == columns for row in (*groups.axes, *groups.middles)), "the groups do not fit together")
    _need(all(len(row) == parts for row in groups.centres) and groups.first > 0, "the groups do not fit together")
    _need(len(groups.covariate_means) == names, "the groups do not fit together")
    _need(not names or (len(groups.slopes) == len(groups.offsets) == columns), "the groups do not fit together")
    _need(all(len(row) == names for row in groups.slopes), "the groups do not fit together")
    _need(sorted(groups.order) == list(range(count)) and len(groups.middles) == count > 0, "the groups have no order")
    if groups.weights:
        _need(len(groups.weights) == count and all(weight > 0 for weight in groups.weights), "a group has no share")
        _check_square(groups.precision, parts, "the groups")


def _check_square(rows: tuple[tuple[float, ...], ...], size: int, what: str) -> None:
    """Refuse a matrix of another size, or with numbers that are not finite."""
    _need(len(rows) == size and all(len(row) == size for row in rows), f"{what} does not fit together")
    _need(bool(np.isfinite(np.array(rows)).all()), f"{what} has numbers that are not finite")


def _need(holds: bool, wrong: str) -> None:
    """Raise an error unless something holds."""
    if not holds:
        raise BundleError(f"bundle.json: {wrong}; copy the bundle again from where it was made, or do not trust it.")
