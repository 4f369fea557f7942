"""Dataclasses of plain numbers and words as JSON, and back with every type checked; nothing else is ever built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from deepqct.bundles.source import BundleError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """A dataclass of plain numbers and words as JSON takes it; NaN becomes None.

    Parameters
    ----------
    value : object
        A dataclass, mapping, tuple, number, word or None.
    """
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def from_plain(kind: type[T], value: Any, *, where: str) -> T:
    """A dataclass built from JSON, if every value has the type that its field declares.

    Parameters
    ----------
    kind : type
        The dataclass.
    value : object
        From JSON.
    where : str
        What is read, for the message of an error.

    Returns
    -------
    object
        Of that type; None in the place of a number becomes NaN.

    Raises
    ------
    BundleError
        If a field is missing, is too many, or has another type.
    """
    built: T = _built(kind, value, where)
    return built


def _built(kind: Any, value: Any, where: str) -> Any:
    """A value of one declared type."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, where)
    if origin in (Union, UnionType):
        return _one_of(inner, value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(_built(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _built(inner[1], each, f"{where}.{key[:40]}") for key, each in value.items()}
    elif kind is float and (value is None or type(value) in (int, float)):
        return float("nan") if value is None else float(value)
    elif kind in (int, str, bool) and type(value) is kind:
        return value
    raise _wrong(where)


def _dataclass(kind: type, value: Any, where: str) -> Any:
    """A dataclass with its fields and no other."""
    hints = _hints(kind)
    # A setting that is younger than the bundle has its default, as it had when the bundle was made.
    needed = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}
    if not isinstance(value, dict) or not needed <= set(value) <= set(hints):
        raise _wrong(where)
    made = {name: _built(hints[name], value[name], f"{where}.{name}") for name in hints if name in value}
    try:
        return kind(**made)
    except (TypeError, ValueError) as error:
        raise BundleError(f"bundle.json: {where} cannot be ({error}).") from error


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """A value of the first of several types that it fits; dataclasses are told apart by their fields."""
    for kind in kinds:
        if kind is type(None) and value is None:
            return None
        if is_dataclass(kind) and isinstance(value, dict) and set(value) == {field.name for field in fields(kind)}:
            return _built(kind, value, where)
    raise _wrong(where)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The declared types of a dataclass's fields."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _wrong(where: str) -> BundleError:
    """The error for a value of another type than declared."""
    return BundleError(f"bundle.json: {where} is not what deepqct bundle writes there; do not trust the bundle.")
