"""Which weights are judged, kept and served where an optimiser keeps a second set of them: Lookahead's slow ones.

They are what the algorithm returns (Zhang et al. 2019, algorithm 1); between two synchronisations the model holds the
fast ones, which training goes on with. A checkpoint has both, as with averaged weights: `state_dict` is what is judged,
`current_model_state` what training goes on with. Where weights are averaged (`training.ema_decay`), the average is
judged, and it is one of the fast weights. Running statistics of batch normalisation are those of the training.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ringlight.optim import holding_slow_weights, slow_weights

CURRENT = "current_model_state"
"""Where a checkpoint holds the weights that training goes on with; Lightning's name, for averaged weights, too."""


class SlowWeights(Callback):
    """Judges the slow weights after every epoch, and puts them into checkpoints and, in the end, into the model."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Let the model hold the slow weights."""
        for optimizer in trainer.optimizers:
            self._held.enter_context(holding_slow_weights(optimizer))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Give it the fast ones back."""
        self._held.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Give it the fast ones back, also when a validation was broken off."""
        self._held.close()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the slow weights as the model's, and the fast ones beside them."""
        slow = {one: weights for optimizer in trainer.optimizers for one, weights in slow_weights(optimizer).items()}
        named = {name: slow[one] for name, one in pl_module.named_parameters() if one in slow}
        checkpoint[CURRENT] = checkpoint["state_dict"]
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **named}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Go on with the fast weights; Lightning has loaded the slow ones by now."""
        if CURRENT in checkpoint:
            pl_module.load_state_dict(checkpoint[CURRENT])

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Leave the slow weights in the model."""
        for optimizer in trainer.optimizers:
            for one, weights in slow_weights(optimizer).items():
                one.copy_(weights)
