"""The features of MiniRocket and MultiRocket inside an ONNX graph: windows (B, C, T) -> (B, D).

They are sktime's, which `models/rocket.py` trains with: proportions of positive values (Dempster et al. 2021,
arXiv:2012.08791), and for MultiRocket the longest stretch of them, their mean and their mean place (Tan et al. 2022,
arXiv:2102.00457), in sktime's definitions. What runs the graph needs neither sktime nor numba.

A kernel's nine taps are -1, three of them 2 (-1 + 3), of the channels it adds up. The additions run in sktime's
order and precision, not as one matrix product: a sensor that stands still convolves to rounding noise around its bias,
and noise of another order would be another feature.

Shapes: B windows, C channels, T samples, F biases of a kernel at one dilation, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ringlight.inference.export_nodes import Nodes
from ringlight.models.rocket import KERNELS, SHORTEST_INSIDE, KernelSet, MultiRocket, Rocket

TAPS = 9
MIDDLE = TAPS // 2

Features = Callable[[Nodes, str, npt.NDArray[np.float32], int], list[str]]
"""Convolved windows (B, 42, T), biases (42, F) and T -> features (B, 42 F), one of each kind."""


def rocket_features(nodes: Nodes, model: Rocket, windows: str) -> str:
    """Add what describes windows, float32 (B, C, T) of the length that the model was fitted to; return the features."""
    length = max(int(model.length), SHORTEST_INSIDE)
    centred = nodes.add("Sub", [windows, nodes.weight(model.mean.cpu().numpy()[:, None])])
    series = nodes.add("Div", [centred, nodes.weight(model.std.cpu().numpy()[:, None])])
    if length > int(model.length):
        series = nodes.add("Pad", [series, nodes.whole(0, 0, 0, 0, 0, length - int(model.length))])
    sets = model.kernel_sets
    if not isinstance(model, MultiRocket):
        return _described(nodes, series, sets[0], length, model.in_chans, _proportions)
    exact = nodes.add("Cast", [series], to=_types()[1])
    steps = nodes.add("Sub", [nodes.cut(exact, 2, 1, length), nodes.cut(exact, 2, 0, length - 1)])
    # Of the differences sktime takes the first kernel's channels for every kernel (aeon-toolkit/aeon#2967 tells the
    # same fault).
    first = sets[0].channels[: sets[0].channels_of[0]]
    count = KERNELS * len(sets[1].dilations)
    shared = sets[1]._replace(channels_of=np.full(count, len(first), np.int32), channels=np.tile(first, count))
    found = [
        _described(nodes, series, sets[0], length, model.in_chans, _four),
        _described(nodes, steps, shared, length - 1, model.in_chans, _four, is_difference=True),
    ]
    return nodes.add("Concat", found, axis=1)


def _described(
    nodes: Nodes, series: str, kernels: KernelSet, length: int, in_chans: int, features: Features, *,
    is_difference: bool = False,
) -> str:  # fmt: skip
    """Return features (B, D) in sktime's order: one kind after the other, dilation by dilation, kernel by kernel.

    Of differences (`is_difference`) sktime keeps double precision, and reckons with the windows' length, so that the
    taps before the middle come one sample late.
    """
    blocks: list[list[str]] = []
    places: list[npt.NDArray[np.int64]] = []
    begin = 0
    channels = _channels(kernels, in_chans)
    for number, (dilation, wide) in enumerate(
        zip(kernels.dilations.tolist(), kernels.features_of.tolist(), strict=True)
    ):
        place = np.arange(begin, begin + KERNELS * wide).reshape(KERNELS, wide)
        begin += KERNELS * wide
        seen = _seen(nodes, series, dilation, length, late=int(is_difference))
        convolved, rows = _convolved(nodes, seen, channels[number], in_chans, is_double=is_difference)
        inside = MIDDLE * dilation
        for rest in (0, 1):  # every other kernel leaves out what its taps see beyond the window's ends
            mine = np.flatnonzero((number + rows) % 2 == rest)
            part = nodes.add("Gather", [convolved, nodes.weight(mine, np.int64)], axis=1)
            if rest:
                part = nodes.cut(part, 2, inside, length - inside)
            blocks.append(features(nodes, part, kernels.biases[place[rows[mine]]], length - 2 * inside * rest))
            places.append(place[rows[mine]].reshape(-1))
    order = np.argsort(np.concatenate(places))
    kinds = [
        nodes.add("Gather", [nodes.add("Concat", list(one), axis=1), nodes.weight(order, np.int64)], axis=1)
        for one in zip(*blocks, strict=True)
    ]
    return kinds[0] if len(kinds) == 1 else nodes.add("Concat", kinds, axis=1)


def _channels(kernels: KernelSet, in_chans: int) -> npt.NDArray[np.int64]:
    """Return which channels each kernel adds up, in order, (dilations, 84, C); C itself where there are no more."""
    found = np.full((len(kernels.channels_of), in_chans), in_chans, np.int64)
    found[np.arange(in_chans) < kernels.channels_of[:, None]] = kernels.channels
    return found.reshape(-1, KERNELS, in_chans)


def _seen(nodes: Nodes, series: str, dilation: int, length: int, *, late: int) -> list[str]:
    """Return what each tap sees at each sample, zeros beyond the ends: nine of (B, C, T)."""
    reach = MIDDLE * dilation
    padded = nodes.add("Pad", [series, nodes.whole(0, 0, reach, 0, 0, reach)])
    starts = [tap * dilation + (late if tap < MIDDLE else 0) for tap in range(TAPS)]
    return [nodes.cut(padded, 2, start, start + length) for start in starts]


def _convolved(
    nodes: Nodes, seen: list[str], channels: npt.NDArray[np.int64], in_chans: int, *, is_double: bool
) -> tuple[str, npt.NDArray[np.int64]]:
    """Return every kernel's output (B, 84, T), and which kernel each row is: those of most channels come first.

    What several kernels begin with is added up once. Every sum is rounded to float32, of inputs in double precision
    (`is_double`) as well.
    """
    single, double = _types()
    alpha = nodes.add("Neg", [seen[MIDDLE]])
    every = nodes.add("Concat", seen, axis=1)
    gamma = nodes.add("Add", [nodes.add("Add", [every, every]), every])
    if is_double:
        alpha, gamma = (nodes.add("Cast", [one], to=single) for one in (alpha, gamma))
    for tap in (*range(MIDDLE), *range(MIDDLE + 1, TAPS)):
        wide = nodes.add("Cast", [alpha], to=double) if is_double else alpha
        alpha = nodes.add("Sub", [wide, seen[tap]])
        if is_double:
            alpha = nodes.add("Cast", [alpha], to=single)
    firsts = nodes.add("Concat", [alpha] * (TAPS - 2), axis=1)
    firsts = nodes.add("Add", [firsts, nodes.cut(gamma, 1, 0, (TAPS - 2) * in_chans)])
    pairs = list(combinations(range(TAPS - 1), 2))
    left, right = np.array(pairs).T
    both = nodes.add("Add", [_rows(nodes, firsts, left, in_chans), _rows(nodes, gamma, right, in_chans)])

    chosen = list(combinations(range(TAPS), 3))
    begun = np.array([pairs.index((first, second)) for first, second, _ in chosen])
    last = np.array([third for *_, third in chosen])
    counts = (channels < in_chans).sum(axis=1)
    rows = np.argsort(-counts, kind="stable")
    total = ""
    for number in range(counts.max()):
        many = int((counts > number).sum())
        here, column = rows[:many], channels[rows[:many], number]
        terms = [
            nodes.add("Gather", [value, nodes.weight(taps[here] * in_chans + column, np.int64)], axis=1)
            for value, taps in ((both, begun), (gamma, last))
        ]
        term = nodes.add("Add", terms)
        if number == 0:
            total = term
        elif many == KERNELS:
            total = nodes.add("Add", [total, term])
        else:
            more = nodes.add("Add", [nodes.cut(total, 1, 0, many), term])
            total = nodes.add("Concat", [more, nodes.cut(total, 1, many, KERNELS)], axis=1)
    return total, rows


def _rows(nodes: Nodes, value: str, taps: npt.NDArray[np.int64], in_chans: int) -> str:
    """Return all channels of some taps, one tap after the other, of (B, taps x C, T)."""
    place = taps[:, None] * in_chans + np.arange(in_chans)
    return nodes.add("Gather", [value, nodes.weight(place.reshape(-1), np.int64)], axis=1)


def _proportions(nodes: Nodes, convolved: str, biases: npt.NDArray[np.float32], length: int) -> list[str]:
    above = _above(nodes, nodes.add("Unsqueeze", [convolved, nodes.whole(2)]), biases)
    count = nodes.add("ReduceSum", [above, nodes.whole(3)], keepdims=0)
    return [_flat(nodes, nodes.add("Div", [count, nodes.weight(length)]))]


def _four(nodes: Nodes, convolved: str, biases: npt.NDArray[np.float32], length: int) -> list[str]:
    """Return the proportion of values above the bias, the longest stretch, and the mean value and place of these."""
    values = nodes.add("Unsqueeze", [convolved, nodes.whole(2)])
    above = _above(nodes, values, biases)
    count = nodes.add("ReduceSum", [above, nodes.whole(3)], keepdims=0)
    some = nodes.add("Max", [count, nodes.weight(1)])
    index = nodes.weight(np.arange(length))
    raised = nodes.add("Mul", [above, nodes.add("Add", [values, nodes.weight(biases[:, :, None])])])  # sktime adds it
    mean, place = (
        nodes.add("Div", [nodes.add("ReduceSum", [one, nodes.whole(3)], keepdims=0), some])
        for one in (raised, nodes.add("Mul", [above, index]))
    )
    nowhere = nodes.add("Equal", [count, nodes.weight(0)])
    kinds = [
        nodes.add("Div", [count, nodes.weight(length)]),
        _longest(nodes, values, biases, length),
        mean,
        nodes.add("Where", [nowhere, nodes.weight(-1), place]),
    ]
    return [_flat(nodes, one) for one in kinds]


def _longest(nodes: Nodes, values: str, biases: npt.NDArray[np.float32], length: int) -> str:
    """Return the longest way from one value below its bias to the next, from the first and to the last sample too.

    The place of the last value below the bias is a running maximum, which comes together in steps of 1, 2, 4, ...
    """
    index = nodes.weight(np.arange(length))
    below = nodes.add("Cast", [nodes.add("Less", [values, nodes.weight(biases[:, :, None])])], to=_types()[0])
    last = nodes.add("Mul", [below, index])
    step = 1
    while step < length:
        moved = nodes.add("Pad", [last, nodes.whole(0, 0, 0, step, 0, 0, 0, -step)])
        last = nodes.add("Max", [last, moved])
        step *= 2
    before = nodes.add("Pad", [last, nodes.whole(0, 0, 0, 1, 0, 0, 0, -1)])
    return nodes.add("ReduceMax", [nodes.add("Sub", [index, before]), nodes.whole(3)], keepdims=0)


def _above(nodes: Nodes, values: str, biases: npt.NDArray[np.float32]) -> str:
    """Return 1 where a value (B, 42, 1, T) is above its bias (42, F), else 0: (B, 42, F, T)."""
    return nodes.add("Cast", [nodes.add("Greater", [values, nodes.weight(biases[:, :, None])])], to=_types()[0])


def _flat(nodes: Nodes, features: str) -> str:
    return nodes.add("Flatten", [features], axis=1)


def _types() -> tuple[int, int]:
    """Return ONNX's numbers for float32 and float64."""
    from onnx import TensorProto

    return int(TensorProto.FLOAT), int(TensorProto.DOUBLE)
