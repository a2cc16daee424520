"""JSON files: untrusted ones are read into annotated dataclasses or refused with the field's name; and written."""

from __future__ import annotations

import json
import math
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from fsr_deploy.errors import InputError

MAX_JSON_BYTES = 16 << 20


def read_json(path: Path) -> Any:
    """Return the JSON value of a file; raises InputError where it cannot be read or is not JSON.

    A missing file stays FileNotFoundError (or NotADirectoryError), for the caller to say what was looked for. A
    device, a pipe or a file over 16 MiB is refused before it is read; NaN and Infinity are not JSON.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a regular file")
        with path.open("rb") as stream:
            text = stream.read(MAX_JSON_BYTES + 1)
        if len(text) > MAX_JSON_BYTES:
            raise InputError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MiB; this is no description of a bundle")
        return json.loads(text, parse_constant=_refuse_constant)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError:
        raise InputError(f"{path}: not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON that can be read: {error}") from error


def json_text(value: Any, indent: int | None = None) -> str:
    """Return plain data as JSON. Infinity (the PSNR of equal faces) and NaN become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def decode(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the annotated type ``kind``: a dataclass, tuple, list, dict, union or plain type.

    Unknown keys of a dataclass are left out, so that a later version may add some. Raises TypeError that starts with
    ``where``, the field's path, for anything else that does not fit, unprintable text included.
    """
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _decode_union(arguments, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin is list:
        return [decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(_expect(list, value, where))]
    if origin is dict:
        items = _expect(dict, value, where).items()
        return {decode(str, key, f"a key of {where}"): decode(arguments[1], v, f"{where}.{key}") for key, v in items}
    return value if kind is Any else _expect(kind, value, where)


def _decode_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    """Decode as the alternative of the value's JSON type; if none fits, the error names the first alternative."""
    json_types = {kind: list if typing.get_origin(kind) is tuple else kind for kind in arguments}
    matching = [kind for kind in arguments if type(value) is json_types[kind]]
    return decode((matching or arguments)[0], value, where)


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    members = _expect(dict, value, where)
    hints = typing.get_type_hints(kind)
    known = {}
    for field in fields(kind):
        place = f"{where}.{field.name}" if where else field.name
        if field.name in members:
            known[field.name] = decode(hints[field.name], members[field.name], place)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise TypeError(f"{place} is missing")
    return kind(**known)


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    items = _expect(list, value, where)
    kinds = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else arguments
    if len(kinds) != len(items):
        raise TypeError(f"{where} has {len(items)} items instead of {len(kinds)}")
    return tuple(decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, items, strict=True)))


def _expect(kind: type, value: Any, where: str) -> Any:
    """Return the value if it is of this JSON type; a bool is no number here, and text is one printable line."""
    if kind is float and type(value) is int:
        return value
    if type(value) is not kind:
        raise TypeError(f"{where} is {type(value).__name__} instead of {kind.__name__}")
    if kind is str and not str(value).isprintable():
        raise TypeError(f"{where} holds control characters")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
