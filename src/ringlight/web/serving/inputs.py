"""From the pieces of a body to a model's inputs, as the same file would be prepared anywhere else in Ringlight.

Runs in the decoders' threads, never in the event loop. What a picture claims to be is checked before it is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.web.serving.arrays import is_array, read_arrays
from ringlight.web.serving.bodies import Body, Piece, take_apart
from ringlight.web.serving.problems import RequestError, refused

if TYPE_CHECKING:
    from ringlight.data.preprocess import InputSpec
    from ringlight.data.window_spec import WindowSpec

Input = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold: bytes of arrays, pixels of its pictures together, and pieces."""

    max_bytes: int
    max_pixels: int
    max_items: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """What each input is called, the inputs, (C, H, W) of images, (C, T) of windows, and what they came of."""

    ids: list[str]
    inputs: list[Input]
    originals: list[Any]


def decode(
    body: bytes, content_type: str, spec: InputSpec | WindowSpec, limits: Limits, grow: Callable[[int], None]
) -> Decoded:
    """Turn a body into inputs.

    Args:
        body: what was sent.
        content_type: what it says it is.
        spec: what the model expects.
        limits: what it may hold.
        grow: is told how many items there are beside the first, before any is decoded; it may refuse.

    Raises:
        RequestError: 400, damaged; 413, too large; 415, of another kind than the model takes; 422, of another shape.
    """
    from ringlight.data.window_spec import WindowSpec

    parts = take_apart(body, content_type, most=limits.max_items)
    make = _windows(parts, spec, limits, grow) if isinstance(spec, WindowSpec) else _images(parts, spec, limits, grow)
    return make if parts.ids is None else replace(make, ids=parts.ids)


# --- windows ----------------------------------------------------------------------------------------------------------


def _windows(parts: Body, spec: WindowSpec, limits: Limits, grow: Callable[[int], None]) -> Decoded:
    groups: list[tuple[str, Any, Sequence[str] | None]] = []
    if parts.windows is not None:
        groups.append(("windows", _nested(parts.windows), parts.channels))
    for piece in parts.pieces:
        if not is_array(piece.content):
            raise RequestError(
                415, "windows as .npy, .npz or JSON", got="something else", where=piece.name,
                fix="this model takes windows of a signal, no images",
            )  # fmt: skip
        arrays = read_arrays(piece.content, where=piece.name, limit=limits.max_bytes)
        groups.append((piece.name, _chosen(arrays, piece.name), _names(arrays, parts)))
    ids: list[str] = []
    checked: list[npt.NDArray[np.float32]] = []
    for name, given, channels in groups:
        windows = _checked(given, spec, channels, name)
        begin = "" if len(groups) == 1 else f"{name}: "
        ids += [f"{begin}window {row}" for row in range(len(windows))]
        checked.append(windows)
    if not ids:
        raise RequestError(400, "at least one window", got="none", where="request", fix="send an array (N, T, C)")
    grow(len(ids) - 1)
    inputs = [one for windows in checked for one in spec.apply(windows).numpy()]
    return Decoded(ids, inputs, [one for windows in checked for one in windows])


def _nested(windows: Sequence[Sequence[Sequence[float]]]) -> npt.NDArray[np.float32]:
    try:
        return np.asarray(windows, np.float32)
    except (ValueError, OverflowError):
        got, fix = "lists of unequal lengths", "send every window with as many samples, every sample with all channels"
        raise RequestError(422, "windows (N, T, C)", got=got, where="body.windows", fix=fix) from None


def _chosen(arrays: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    if "X" in arrays:
        return arrays["X"]
    others = [key for key in arrays if key != "channels"]
    if len(others) != 1:
        got = f"arrays {', '.join(others[:8])}"[:160]
        raise RequestError(422, "an array `X`", got=got, where=name, fix="save the windows as X with numpy.savez")
    return arrays[others[0]]


def _names(arrays: dict[str, npt.NDArray[Any]], parts: Body) -> Sequence[str] | None:
    found = arrays.get("channels")
    return parts.channels if found is None else [str(one) for one in found.ravel()[:10_000]]


def _checked(
    given: npt.NDArray[Any], spec: WindowSpec, channels: Sequence[str] | None, name: str
) -> npt.NDArray[np.float32]:
    from ringlight.data.window_spec import check_windows

    one = given.ndim == 2 and given.shape == (spec.length, spec.in_chans)
    try:
        with np.errstate(over="ignore"):  # a double beyond single precision becomes infinite, which is refused
            return check_windows(given[None] if one else given, spec, channels=channels, where=name)
    except DataError as error:
        raise refused(422, error) from None


# --- images -----------------------------------------------------------------------------------------------------------


def _images(parts: Body, spec: InputSpec, limits: Limits, grow: Callable[[int], None]) -> Decoded:
    if parts.windows is not None:
        raise RequestError(
            415, "`images`", got="`windows`", where="body", fix="this model takes images, no windows of a signal"
        )
    from ringlight.data.preprocess import prepare

    pictures: list[tuple[str, bytes | npt.NDArray[Any]]] = []
    pixels = 0
    for piece in parts.pieces:
        for name, picture, count in _pictures(piece, limits):
            pixels += count
            if pixels > limits.max_pixels:
                raise _too_many_pixels(limits.max_pixels, f"{pixels} so far", name)
            pictures.append((name, picture))
    grow(len(pictures) - 1)
    inputs = []
    for name, picture in pictures:
        try:
            inputs.append(np.asarray(prepare(picture, spec).numpy()))
        except DataError as error:
            status = 400 if isinstance(picture, bytes) else 422
            raise RequestError(
                status, error.expected, got=error.got, where=name, fix="send the file as written"
            ) from None
        except MemoryError:
            raise _too_many_pixels(limits.max_pixels, "more than there is memory for", name) from None
    return Decoded([name for name, _ in pictures], inputs, [picture for _, picture in pictures])


def _pictures(piece: Piece, limits: Limits) -> list[tuple[str, bytes | npt.NDArray[Any], int]]:
    """Return the pictures of a piece with their pixels, none decoded yet."""
    from ringlight.data.picture_header import ForeignPictureError, HugePictureError, picture_size

    if is_array(piece.content):
        array = _chosen(read_arrays(piece.content, where=piece.name, limit=limits.max_bytes), piece.name)
        several = array.ndim == 4
        if several and not len(array):
            raise RequestError(
                400, "at least one image", got="none", where=piece.name, fix="send an array (N, H, W, C)"
            )
        found = list(array) if several else [array]
        names = [f"{piece.name}: image {row}" for row in range(len(found))] if several else [piece.name]
        return [
            (name, one, int(np.prod(one.shape[:2])))
            for name, one in zip(names, found[: limits.max_items + 1], strict=False)
        ]
    try:
        height, width = picture_size(piece.content, where=piece.name)
    except ForeignPictureError as error:
        raise refused(415, error) from None
    except HugePictureError as error:
        raise _too_many_pixels(limits.max_pixels, error.got, piece.name) from None
    except DataError as error:
        raise refused(400, error) from None
    return [(piece.name, piece.content, height * width)]


def _too_many_pixels(limit: int, got: str, where: str) -> RequestError:
    return RequestError(
        413, f"at most {limit} pixels in a request", got=got, where=where, fix="send smaller pictures, or fewer"
    )
