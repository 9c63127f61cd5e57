"""Several views of each record in one batch, for losses that compare them."""

from __future__ import annotations

from collections.abc import Iterator

from ringlight.data.sampling_base import EpochSampler, Key
from ringlight.data.sampling_order import IntArray
from ringlight.errors import ConfigError


class ViewsSampler(EpochSampler):
    """Yields every key of another sampler `num_views` times in a row, each time as another copy.

    A copy is augmented differently, so that a batch of B x `num_views` keys holds the views of the B records that the
    other sampler put into a batch of B.

    Args:
        records: which records, in which order.
        num_views: V, 1 or more.

    Raises:
        ConfigError: no view.

    Examples:
        >>> list(ViewsSampler(EpochSampler(2, seed=0, shuffle=False), num_views=2))
        [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    """

    def __init__(self, records: EpochSampler, *, num_views: int) -> None:
        if num_views < 1:
            raise ConfigError("1 or more", got=str(num_views), where="supcon.num_views", fix="set supcon.num_views=2")
        super().__init__(records.n, seed=records.seed, shuffle=records.shuffle)
        self.records = records
        self.num_views = num_views

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        super().set_epoch(epoch)
        self.records.set_epoch(epoch)

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, each `num_views` times."""
        return self.records.rows(epoch).repeat(self.num_views)

    def __len__(self) -> int:
        return len(self.records) * self.num_views

    def _keys(self) -> Iterator[Key]:
        for epoch, row, copy in self.records:
            for view in range(self.num_views):
                yield epoch, row, copy * self.num_views + view
