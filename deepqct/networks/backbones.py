"""The networks themselves: a torchvision or timm backbone with fastai's head, and the weights it begins with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from fastai.callback.hook import num_features_model
from fastai.vision.learner import (
    TimmBody,
    _default_meta,
    create_body,
    create_timm_model,
    create_vision_model,
    model_meta,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torchvision import models

from deepqct.folder import resolve
from deepqct.networks.readers import Design, assembled
from deepqct.networks.recipe import WEIGHTS

_HEADS = ("fc.", "classifier.", "head.")  # layers of torchvision's networks that our own head replaces


def network(*, arch: str, channels: int, weights: str = "none", design: Design | None = None) -> torch.nn.Module:
    """The network that `bone_learner` trains, built without any data.

    Parameters
    ----------
    arch, weights : str
        As in `Recipe`.
    channels : int
        Slabs of an image.
    design : Design, optional
        What the network is built for; by default the published backbone with fastai's own head.

    Returns
    -------
    Module
        Its part ``0`` is the body (the backbone), its part ``1`` the head, which gives one logit an image.

    Raises
    ------
    ValueError
        If the design needs maps and the backbone keeps none, or a finer first layer and the backbone's does not halve an
        image; if the file holds weights of another network.
    """
    design = design or Design()
    build, plain = builder(arch), replace(design, first="published") == Design()
    settings: dict[str, Any] = {"pretrained": weights == "imagenet", "n_in": channels}
    settings |= {} if plain else {"custom_head": torch.nn.Identity()}
    with weights_needed(arch):
        if isinstance(build, str):
            model: torch.nn.Module = create_timm_model(arch, 1, **settings)[0]
        else:
            model = create_vision_model(build, 1, **settings)
    if not plain:
        body = model.get_submodule("0")
        model = assembled(body, _features(body, arch=arch), design=design)
    if design.first == "fine":
        _refine(model.get_submodule("0"), arch=arch)
    if given(weights):
        load_weights(model, resolve(weights), arch=arch, channels=channels)
    return model


def _refine(body: torch.nn.Module, *, arch: str) -> None:
    """Let a new body's first layer read every pixel."""
    first = next((layer for layer in body.modules() if isinstance(layer, torch.nn.Conv2d)), None)
    if first is None or tuple(first.stride) != (2, 2):
        raise ValueError(
            f"arch is {arch!r}, whose first layer does not halve an image; set first=published, or take a network such as "
            "resnet34."
        )
    first.stride = (1, 1)


def _features(body: torch.nn.Module, *, arch: str) -> int:
    """The channels of a body's map."""
    if isinstance(body, TimmBody):
        if not body.needs_pool:
            raise ValueError(
                f"arch is {arch!r}, which keeps no maps of places; pooling, patches and auxiliary need a convolutional "
                "network such as resnet34."
            )
        return int(body.model.num_features)
    return int(num_features_model(torch.nn.Sequential(*body.children())))


@cache
def try_network(*, arch: str, channels: int, pixels: int) -> None:
    """Try once whether a network can read images of this size, so that one that cannot is named before the training.

    Parameters
    ----------
    arch : str
        As in `Recipe`; built with random weights.
    channels, pixels : int
        Slabs of an image, and pixels along an edge of it.

    Raises
    ------
    ValueError
        If the network fails, or gives anything but one logit an image.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            logits = network(arch=arch, channels=channels).eval()(torch.zeros(2, channels, pixels, pixels))
        if logits.shape != (2, 1):
            raise RuntimeError
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        StopIteration,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"arch is {arch!r}, which cannot read images of {pixels} by {pixels} pixels and {channels} channels as one of "
            "fastai's bodies; take a convolutional network such as resnet34, densenet121 or convnext_tiny."
        ) from error


@contextmanager
def weights_needed(arch: str) -> Iterator[None]:
    """Turn the failure to find or fetch ImageNet weights into an error that says what to do.

    Parameters
    ----------
    arch : str
        As in `Recipe`; the error names it.

    Raises
    ------
    RuntimeError
        If the weights are not on this machine and cannot be fetched.
    """
    try:
        yield
    except OSError as error:  # URLError is one
        raise RuntimeError(
            f"The ImageNet weights of {arch} are not on this machine and cannot be fetched; copy them into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, give a .safetensors file, or set weights=none."
        ) from error


def builder(arch: str) -> Any:
    """What fastai builds the network from: torchvision's function, or a name that timm knows.

    Parameters
    ----------
    arch : str
        As in `Recipe`.
    """
    return getattr(models, arch) if arch in models.list_models(module=models) else arch


def parts_of(model: torch.nn.Module, *, arch: str) -> Any:
    """The groups of a network's weights that learn at rates of their own, as fastai splits such a backbone.

    Parameters
    ----------
    model : Module
        From `network`.
    arch : str
        As in `Recipe`.

    Returns
    -------
    list of lists of Parameter
        From the first layers to the head.
    """
    split = model_meta.get(builder(arch), _default_meta)["split"]
    return split(torch.nn.Sequential(model.get_submodule("0"), model.get_submodule("1")))


def load_weights(model: torch.nn.Module, path: Path, *, arch: str, channels: int) -> None:
    """Load a safetensors file into a network.

    A file of one of our own networks fills the whole network; one of torchvision's or timm's fills the backbone alone.

    Parameters
    ----------
    model : Module
        From `network`; its weights are replaced.
    path : Path
        The safetensors file.
    arch : str
        As in `Recipe`; of the same backbone as `model`.
    channels : int
        Slabs of an image.

    Raises
    ------
    ValueError
        If the file does not hold the weights of this network or of its backbone.
    """
    try:
        tensors = load_file(path)
        if any(name.startswith("0.") for name in tensors):
            model.load_state_dict(tensors)
            return
        build = builder(arch)
        if isinstance(build, str):
            body = model.get_submodule("0.model")
            body.load_state_dict({name: tensor for name, tensor in tensors.items() if name in body.state_dict()})
            return
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(_HEADS)}
        whole = build()
        if {name for name in whole.state_dict() if not name.startswith(_HEADS)} != set(tensors):
            raise KeyError
        whole.load_state_dict(tensors, strict=False)
        cut = model_meta.get(build, _default_meta)["cut"]
        model.get_submodule("0").load_state_dict(
            create_body(whole, n_in=channels, pretrained=True, cut=cut).state_dict()
        )
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"{path.name} does not hold the weights of {arch} with {channels} channels; give a file of such a network "
            "trained on other patients, or of its backbone alone."
        ) from error


def body_tensors(model: torch.nn.Sequential, *, arch: str) -> dict[str, torch.Tensor]:
    """The weights of a network's body under the names of torchvision or timm, as `load_weights` takes a backbone's.

    Parameters
    ----------
    model : Sequential
        From `network`, of three channels.
    arch : str
        As in `Recipe`.
    """
    build, body = builder(arch), model[0]
    if isinstance(build, str):
        tensors = body.get_submodule("model").state_dict()
    else:
        whole = build()
        cut = model_meta.get(build, _default_meta)["cut"]
        create_body(whole, n_in=3, pretrained=False, cut=cut).load_state_dict(
            body.state_dict()
        )  # its layers are whole's
        tensors = {name: tensor for name, tensor in whole.state_dict().items() if not name.startswith(_HEADS)}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def given(weights: str) -> bool:
    """True where `weights` names a file, not imagenet or none.

    Parameters
    ----------
    weights : str
        As in `Recipe`.
    """
    return weights not in WEIGHTS
