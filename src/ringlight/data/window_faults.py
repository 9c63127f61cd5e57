"""What is refused of windows: values that are not finite, other channels, another length; one line each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, did_you_mean

Windows = npt.NDArray[np.float32]


def require_finite(windows: Windows, channels: Sequence[str], where: str) -> None:
    """Refuse windows (N, T, C) with a value that is not finite; the first is named.

    Raises:
        DataError: there is one.
    """
    bad = np.asarray(~np.isfinite(windows).all(axis=1))
    if not bad.any():
        return
    row, channel = (int(place) for place in np.argwhere(bad)[0])
    dead = np.flatnonzero(bad.all(axis=0)) if len(windows) > 1 else np.empty(0, np.int64)
    if len(dead) and np.isnan(windows[:, :, dead[0]]).all():
        got, place = "NaN in every window", f"{where}: channel `{channels[dead[0]]}`"
    else:
        got = "NaN" if np.isnan(windows[row, :, channel]).any() else "an infinite value"
        got += f" (in {int(bad.any(axis=1).sum())} of {len(windows)} windows)"
        place = f"{where}: window {row}, channel `{channels[channel]}`"
    raise DataError("finite values", got=got, where=place, fix="fill the gaps or leave these windows out")


def require_channels(channels: Sequence[str], expected: tuple[str, ...], where: str) -> None:
    """Refuse channels of other names, or in another order.

    Raises:
        DataError: they differ; the message names those that are missing, unknown or out of place.
    """
    names = tuple(channels)
    if names == expected:
        return
    missing = [name for name in expected if name not in names]
    unknown = [name for name in names if name not in expected]
    if missing or unknown:
        lost = f"without {', '.join(f'`{name}`' for name in missing[:5])}" if missing else "all of them"
        more = f" and with unknown {', '.join(f'`{name}`' for name in unknown[:5])}" if unknown else ""
        got = lost + more
        hint = f"; {did_you_mean(unknown[0], missing)}" if unknown and missing else ""
        fix = f"pass the channels the model was trained on{hint}"
    elif len(names) != len(expected):
        got, fix = "a name twice", "name every channel once"
    else:
        at = next(place for place, name in enumerate(names) if name != expected[place])
        got = f"another order: `{names[at]}` at place {at + 1} instead of `{expected[at]}`"
        fix = "reorder the channels: windows[:, :, [channels.index(name) for name in expected]]"
    listed = ", ".join(expected[:20]) + (", ..." if len(expected) > 20 else "")
    raise DataError(f"the channels {listed}", got=got, where=where, fix=fix)


def wrong_length(got: int, expected: int, where: str) -> DataError:
    """Say that windows have another length than the model expects."""
    return DataError(
        f"windows of {expected} samples",
        got=f"{got} samples",
        where=where,
        fix=f"cut the signal into windows of {expected} samples, as the training data were",
    )
