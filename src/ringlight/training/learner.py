"""A deep classifier behind the engine's `Learner` protocol; Lightning runs the loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ringlight.config.schema import Config
from ringlight.data.augment import Augmenter
from ringlight.data.loader import make_loader
from ringlight.data.preprocess import InputSpec
from ringlight.errors import ConfigError, RunError
from ringlight.inference.bundle import Bundle, read_bundle, write_bundle
from ringlight.inference.predictor import forward
from ringlight.inference.tta import Tta, averaged
from ringlight.runtime import LOGGER, DeviceChoice, choose_device, package_versions, quiet_libraries
from ringlight.types import Dataset, History, Prediction, RunControl, Task, Tracker

if TYPE_CHECKING:
    from torch import nn

    from ringlight.training.plan import Plan
    from ringlight.training.rules import Rules
    from ringlight.training.task import ClassificationTask


def _ignore(history: History, validation: Prediction | None) -> None:
    """Nobody asked to be told."""


class DeepLearner:
    """Fits a module with a criterion as a configuration says.

    `folder` receives the checkpoints; `on_epoch` is called after every epoch with the history and the scores of the
    validation part. `weights_from` tells, after `fit`, which checkpoint the module's weights come from.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        spec: InputSpec,
        classes: tuple[str, ...],
        task: Task,
        config: Config | None = None,
        criterion: nn.Module | None = None,
        augmenter: Augmenter | None = None,
        device: DeviceChoice | None = None,
        folder: Path | None = None,
        on_epoch: Callable[[History, Prediction | None], None] | None = None,
    ) -> None:
        self.module = module
        self.spec = spec
        self.classes = classes
        self.task = task
        self.config = config
        self.criterion = criterion
        self.augmenter = augmenter
        self.device = device or choose_device("auto")
        self.folder = folder
        self.on_epoch = on_epoch or _ignore
        self.weights_from: Path | None = None
        self.fingerprint = ""
        self._origin: Bundle | None = None

    @classmethod
    def from_plan(cls, plan: Plan, folder: Path, on_epoch: Callable[[History, Prediction | None], None]) -> Self:
        """Take the parts of a plan."""
        learner = cls(
            plan.module,
            spec=plan.spec,
            classes=plan.dataset.classes,
            task=plan.dataset.task,
            config=plan.config,
            criterion=plan.criterion,
            augmenter=plan.augmenter,
            device=plan.device,
            folder=folder,
            on_epoch=on_epoch,
        )
        learner.fingerprint = plan.fingerprint
        return learner

    def fit(
        self, train: Dataset, val: Dataset | None, *, tracker: Tracker, control: RunControl, resume: Path | None
    ) -> History:
        """Train, then put the best weights (the last ones without `val`) into the module.

        Raises:
            InterruptedRunError: the user or the control stopped it; `last.ckpt` is whole.
            TrainingError: the loss is not finite.
        """
        from ringlight.training.callbacks import Heartbeat, Reporter
        from ringlight.training.checkpoints import Keeper
        from ringlight.training.engine import extras, make_trainer

        config, criterion, folder = self._needs()
        monitor = config.training.monitor if val is not None and len(val) else None
        reporter = Reporter(tracker, self.on_epoch, config.training.num_epochs)
        heartbeat = Heartbeat(control, config.training.num_epochs, config.data.batch_size)
        keeper = Keeper(folder, monitor)
        loader = self._loader(train, shuffle=True)
        with quiet_libraries():
            trainer = make_trainer(config, self.device, [reporter, heartbeat, keeper, *extras(config, monitor)])
            try:
                trainer.fit(
                    self._task(config, criterion, monitor, len(loader)),
                    loader,
                    None if monitor is None or val is None else self._loader(val, shuffle=False),
                    ckpt_path=resume,
                    weights_only=True,
                )
            finally:
                heartbeat.restore()
        self._restore(keeper.path)
        return reporter.history

    def _needs(self) -> tuple[Config, nn.Module, Path]:
        if self.config is None or self.criterion is None or self.folder is None:
            raise RunError(
                "a learner with configuration, criterion and folder",
                got="one that was loaded to predict",
                where="DeepLearner.fit",
                fix="build it with DeepLearner.from_plan",
            )
        return self.config, self.criterion, self.folder

    def _task(self, config: Config, criterion: nn.Module, monitor: str | None, num_batches: int) -> ClassificationTask:
        from ringlight.training.engine import optimizer_of, schedule_of
        from ringlight.training.task import ClassificationTask

        return ClassificationTask(
            self.module,
            criterion,
            classes=self.classes,
            task=self.task,
            seed=config.experiment.seed,
            optimizer=optimizer_of(config),
            schedule=schedule_of(config, monitor, num_batches),
            monitor=monitor,
        )

    def _loader(self, data: Dataset, *, shuffle: bool) -> Any:
        seed, batch_size, workers = 0, 8, 0
        if self.config is not None:
            seed, batch_size = self.config.experiment.seed, self.config.data.batch_size
            workers = int(self.config.data.num_workers) if self.config.data.num_workers != "auto" else 0
        elif self._origin is not None:
            # The batches it was judged in: the last digits of a score depend on how many images go together.
            batch_size = int(self._origin.training_config.get("data", {}).get("batch_size", batch_size))
        # Batch normalisation cannot learn from a single image: each epoch leaves another one out instead.
        alone = shuffle and batch_size > 1 and len(data) % batch_size == 1 and len(data) > 1
        if alone:
            LOGGER.info("every epoch leaves one image out, each another: alone in the last batch it teaches nothing")
        return make_loader(
            data,
            self.spec,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            augmenter=self.augmenter if shuffle else None,
            num_workers=workers,
            drop_last=alone,
            pin_memory=self.device.kind == "cuda",
        )

    def _restore(self, checkpoint: Path) -> None:
        """Load the weights of a checkpoint (with EMA: the averaged ones) into the module."""
        import torch

        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        prefix = "module."
        self.module.load_state_dict(
            {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        )
        self.weights_from = checkpoint
        LOGGER.info("trained; the weights of %s count", checkpoint.name)

    def predict(self, data: Dataset) -> Prediction:
        """Return raw scores, in single precision whatever the training used: that is how a bundle is served."""
        return self.predict_views(data, Tta())

    def predict_views(self, data: Dataset, tta: Tta) -> Prediction:
        """Return raw scores averaged over the views of each image."""
        import torch

        module = self.module.to(self.device.device).eval()
        score = partial(forward, module, device=self.device.device)
        with quiet_libraries(), torch.inference_mode():
            parts = [averaged(score, batch["image"], tta, self.task) for batch in self._loader(data, shuffle=False)]
        return Prediction(data.ids, np.concatenate(parts), self.classes, self.task, data.targets())

    def bundle(self, metrics: dict[str, Any], rules: Rules | None = None) -> Bundle:
        """Describe the model as a bundle with its metrics and rules; a loaded model as it was described."""
        if self._origin is not None:
            return self._origin
        config, _, _ = self._needs()
        return Bundle(
            architecture={
                "name": config.model.name,
                "in_chans": config.model.in_chans,
                "drop_rate": config.model.drop_rate,
                "params": config.model.params(),
            },
            task=self.task,
            classes=self.classes,
            input_spec=self.spec,
            training_config=config.model_dump(mode="json"),
            dataset_fingerprint=self.fingerprint,
            metrics=metrics,
            versions=package_versions(),
            **({} if rules is None else rules.for_bundle()),
        )

    def save(self, folder: Path) -> None:
        """Write a bundle that :meth:`load` and `ringlight.load` read."""
        write_bundle(folder, self.bundle({}), self.module)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a bundle; the learner predicts, it cannot be trained further."""
        return cls.of_bundle(*read_bundle(folder))

    @classmethod
    def of_bundle(cls, bundle: Bundle, module: nn.Module) -> Self:
        """Take a bundle that was read; it predicts where it was trained, if this machine has such a device."""
        wish = bundle.training_config.get("training", {}).get("device", "auto")
        try:
            device = choose_device(wish)
        except ConfigError:
            device = choose_device("auto")
        learner = cls(module, spec=bundle.input_spec, classes=bundle.classes, task=bundle.task, device=device)
        learner._origin = bundle
        return learner
