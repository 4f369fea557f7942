"""The weights of a bundle: a file's header is checked, against its size and the recipe, before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from deepqct.bundles.source import BundleError, Source, parse_json
from deepqct.networks.backbones import network
from deepqct.networks.readers import Design
from deepqct.networks.recipe import Recipe

_MOST_HEADER = 16 * 2**20
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.float64: "F64"}


def read_tensors(source: Source, name: str, *, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> Any:
    """The tensors of a safetensors file, if they are exactly those that are expected.

    Parameters
    ----------
    source : Source
        The bundle.
    name : str
        The file.
    shapes : mapping of str to (str, tuple of int)
        Type and shape of each tensor that must be there, and no other.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    BundleError
        If the file is no safetensors, says that it holds more than it does, or holds other tensors.
    """
    expected = sum(_BYTES[kind] * math.prod(shape) for kind, shape in shapes.values())
    size = source.files.get(name, (0, ""))[0]
    if size > expected + _MOST_HEADER + 8:
        raise BundleError(f"{name} has {size} bytes, where its recipe needs {expected}; do not trust it.")
    content = source.read(name)
    held = _header(content, name=name)
    if held != dict(shapes):
        wrong = sorted(set(held) ^ set(shapes)) or [key for key in held if held[key] != shapes[key]]
        raise BundleError(
            f"{name} does not hold the tensors of its recipe ({len(wrong)} differ, the first {wrong[0][:80]!r}); do not "
            "trust it."
        )
    try:
        tensors = load(content)
    except (SafetensorError, ValueError) as error:
        raise BundleError(f"{name} cannot be read as safetensors; do not trust it.") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point()):
        raise BundleError(f"{name} holds numbers that are not finite; do not trust it.")
    return tensors


def _header(content: bytes, *, name: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor that the header of a safetensors file names, if the file holds just these."""
    length = int.from_bytes(content[:8], "little") if len(content) >= 8 else -1
    if not 2 <= length <= min(_MOST_HEADER, len(content) - 8):
        raise BundleError(
            f"{name} is no safetensors file: its header would have {length} of {len(content)} bytes; do not trust it."
        )
    header = parse_json(content[8 : 8 + length], name=f"The header of {name}")
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    spans: list[tuple[int, int]] = []
    try:
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            shape, (begin, end) = entry["shape"], entry["data_offsets"]
            numbers = [*shape, begin, end]
            if len(shape) > 8 or not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError
            if end - begin != math.prod(shape) * _BYTES[entry["dtype"]]:
                raise ValueError
            found[key] = (entry["dtype"], tuple(shape))
            spans.append((begin, end))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"The header of {name} does not describe tensors; do not trust it.") from error
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise BundleError(f"The tensors of {name} overlap or leave gaps; do not trust it.")
        at = end
    if at != len(content) - 8 - length:
        raise BundleError(
            f"The header of {name} speaks of {at} bytes of weights, and there are {len(content) - 8 - length}; do not "
            "trust it."
        )
    return found


def design_of(recipe: Recipe, *, pixel_mm: float, targets: int) -> Design:
    """What the head of a network is built for, as `deepqct.networks` builds it.

    Parameters
    ----------
    recipe : Recipe
        Of the network.
    pixel_mm : float
        Edge of a pixel of its stacks.
    targets : int
        How many indices it was told.
    """
    return Design.of(recipe, pixel_mm=pixel_mm, targets=targets)


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor of a network.

    Parameters
    ----------
    model : Module
        A network, perhaps one without memory, on torch's device ``meta``.
    """
    return {name: (_DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in model.state_dict().items()}


def read_network(source: Source, name: str, *, recipe: Recipe, pixel_mm: float, targets: int) -> torch.nn.Module:
    """One network of a bundle, ready to score images as it was in its run.

    Parameters
    ----------
    source : Source
        The bundle.
    name : str
        The file of its weights.
    recipe, pixel_mm, targets
        As in `design_of`.

    Raises
    ------
    BundleError
        As `read_tensors`, and if the recipe is of no network.
    """
    try:
        design = design_of(recipe, pixel_mm=pixel_mm, targets=targets)
        with torch.device("meta"):  # shapes without memory: a recipe may be of a network of any size
            shapes = shapes_of(network(arch=recipe.arch, channels=recipe.channels, design=design))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise BundleError(f"The recipe of {name} is of no network; do not trust it.") from error
    tensors = read_tensors(source, name, shapes=shapes)
    with torch.random.fork_rng(devices=[]):
        model = network(arch=recipe.arch, channels=recipe.channels, design=design)
    model.load_state_dict(tensors)
    # In this layout, in which fastai trains, sums are taken in the same order.
    return model.eval().to(memory_format=torch.channels_last)
