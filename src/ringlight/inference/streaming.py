"""Records judged one batch after the other, so that memory does not grow with their number.

A record that cannot be read becomes a row with an error; the others are judged. Files are read ahead in threads while
the model runs: decoding an image leaves Python alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from ringlight.errors import DataError
from ringlight.inference.decisions import Result
from ringlight.inference.ensembling import Inputs, Scorer


@dataclass(frozen=True, slots=True)
class Item:
    """A record that is to be judged: its id, and a path or an array; or why there is none."""

    id: str
    source: Any = None
    fault: DataError | None = None


class _Read(NamedTuple):
    item: Item
    inputs: Inputs | None
    fault: DataError | None

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [] if self.inputs is None else [one.shape for one in self.inputs]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order they came: `faults` has None for each that was judged, `result` is of those alone."""

    items: list[Item]
    faults: list[DataError | None]
    result: Result | None

    @property
    def judged(self) -> list[Item]:
        """The records that `result` is of."""
        return [item for item, fault in zip(self.items, self.faults, strict=True) if fault is None]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row a record: as :meth:`ringlight.inference.decisions.Result.rows`, or its id and `error`."""
        judged = iter([] if self.result is None else self.result.rows())
        return [
            next(judged) if fault is None else {"id": item.id, "error": str(fault)}
            for item, fault in zip(self.items, self.faults, strict=True)
        ]


def judged(
    scorer: Scorer, items: Iterable[Item], *, batch_size: int | None = None, readers: int = 2
) -> Iterator[Batch]:
    """Yield records as they are judged, in their order.

    Records of one shape go through the model together; another shape begins another batch.

    Args:
        scorer: one model, or several.
        items: asked for as they are needed, at most three batches ahead.
        batch_size: at most so many in a batch; as many as the scorer likes when None.
        readers: threads that read ahead; 0 reads and judges in turn.
    """
    size = batch_size or scorer.batch_size
    held: list[_Read] = []
    for read in _reading(scorer, items, readers, ahead=2 * size):
        former = next((one.shapes for one in reversed(held) if one.inputs is not None), None)
        if len(held) == size or (held and read.inputs is not None and former not in (None, read.shapes)):
            yield _judge(scorer, held)
            held = []
        held.append(read)
    if held:
        yield _judge(scorer, held)


def _judge(scorer: Scorer, reads: list[_Read]) -> Batch:
    whole = [(read.item.id, read.inputs) for read in reads if read.inputs is not None]
    result = scorer.score([inputs for _, inputs in whole], [key for key, _ in whole]) if whole else None
    return Batch([read.item for read in reads], [read.fault for read in reads], result)


def _reading(scorer: Scorer, items: Iterable[Item], readers: int, *, ahead: int) -> Iterator[_Read]:
    if not readers:
        for item in items:
            yield _read(scorer, item)
        return
    waiting: deque[Future[_Read]] = deque()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="ringlight-read")
    try:
        for item in items:
            waiting.append(pool.submit(_read, scorer, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(scorer: Scorer, item: Item) -> _Read:
    if item.fault is not None:
        return _Read(item, None, item.fault)
    try:
        return _Read(item, scorer.prepare(item.source), None)
    except DataError as fault:
        return _Read(item, None, fault)
