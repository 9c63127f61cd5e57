"""InceptionTime (Ismail Fawaz et al. 2020, arXiv:1909.04939): filters of three lengths side by side, six modules deep.

Shapes: B batch, C channels, T time steps, F filters, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ringlight.models.sequence import SameConv1d, SequenceModel, check_each, check_whole
from ringlight.models.sequence_pooling import Pooling


class InceptionModule(nn.Module):
    """One module (figure 2 of the paper): (B, C, T) -> (B, (len(kernel_sizes) + 1) F, T).

    A bottleneck of one-step filters reduces C to `bottleneck` channels (left out for one channel or `bottleneck` 0);
    on it convolutions of several lengths, beside them a maximum of three steps and one-step filters on the input; all
    are put side by side, then batch normalisation and ReLU. No convolution has a bias.
    """

    def __init__(self, in_chans: int, filters: int, kernel_sizes: Sequence[int], bottleneck: int) -> None:
        super().__init__()
        reduced = bottleneck > 0 and in_chans > 1
        width = bottleneck if reduced else in_chans
        self.bottleneck = nn.Conv1d(in_chans, width, 1, bias=False) if reduced else nn.Identity()
        self.convolutions = nn.ModuleList(SameConv1d(width, filters, kernel) for kernel in kernel_sizes)
        self.pooled = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(in_chans, filters, 1, bias=False))
        self.norm = nn.BatchNorm1d(filters * (len(kernel_sizes) + 1))

    def forward(self, x_bct: Tensor) -> Tensor:
        """Return the module's map."""
        reduced: Tensor = self.bottleneck(x_bct)
        sides = [conv(reduced) for conv in self.convolutions] + [self.pooled(x_bct)]
        return torch.relu(self.norm(torch.cat(sides, dim=1)))


class InceptionTime(SequenceModel):
    """One network of InceptionTime: Inception modules, a residual every third: (B, C, T) -> logits (B, K).

    `depth` modules; the input of every third is carried past the three by one-step filters and batch normalisation,
    added, and goes through ReLU (figure 1 of the paper). Then the mean over time and one linear layer. The paper's
    numbers are the defaults: 6 modules, 32 filters each of 40, 20 and 10 steps, bottleneck 32: 420,192 parameters for
    one channel before the classifier.

    **InceptionTime itself is the mean of five such networks' probabilities from different seeds** (section 3.3): train
    five runs and combine them; this class is one of the five.

    Raises:
        ModelError: no kernel, a number below 1 (`bottleneck`: below 0), or a share outside [0, 1).

    Examples:
        >>> model = InceptionTime(4, 9, filters=8, depth=3)
        >>> tuple(model(torch.zeros(2, 9, 128)).shape)
        (2, 4)
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        *,
        drop_rate: float = 0.0,
        filters: int = 32,
        kernel_sizes: Sequence[int] = (40, 20, 10),
        bottleneck: int = 32,
        depth: int = 6,
        pooling: Pooling = "mean",
    ) -> None:
        check_whole(filters, "filters", fix="the paper uses 32")
        kernels = check_each(kernel_sizes, "kernel_sizes", fix="the paper uses [40, 20, 10]")
        check_whole(bottleneck, "bottleneck", least=0, fix="the paper uses 32; 0 leaves it out")
        check_whole(depth, "depth", fix="the paper uses 6")
        width = filters * (len(kernels) + 1)
        super().__init__(in_chans, width, num_classes, pooling=pooling, drop_rate=drop_rate)
        self.inception = nn.ModuleList(
            InceptionModule(width if number else in_chans, filters, kernels, bottleneck) for number in range(depth)
        )
        self.shortcuts = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width if number else in_chans, width, 1, bias=False), nn.BatchNorm1d(width))
            for number in range(depth // 3)
        )

    def forward_features(self, x_bct: Tensor) -> Tensor:
        """Return the last module's map, (B, 4 F, T) with three kernels."""
        x = carried = x_bct
        for number, module in enumerate(self.inception):
            x = module(x)
            if number % 3 == 2:
                x = carried = torch.relu(x + self.shortcuts[number // 3](carried))
        return x
