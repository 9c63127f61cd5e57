"""A deep classifier behind the engine's `Learner` protocol; Lightning runs the loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ringlight.config.schema import Config
from ringlight.data.augment_base import SectionAugmenter
from ringlight.data.loader import translating_lost_workers
from ringlight.data.sampling import EpochSampler
from ringlight.errors import ConfigError, RunError
from ringlight.evaluation.custom_metrics import Metric, MetricFunction, measured
from ringlight.evaluation.metrics import monitor_mode
from ringlight.inference.bundle import Bundle, read_bundle, write_bundle
from ringlight.inference.engines import forward
from ringlight.inference.tta import Tta, averaged
from ringlight.runtime import LOGGER, DeviceChoice, choose_device, package_versions, quiet_libraries
from ringlight.training.drawing import sampler_of
from ringlight.training.feeding import JUDGED_BATCH, Feeder
from ringlight.training.monitors import further_metrics, monitors
from ringlight.types import Dataset, History, Prediction, RunControl, Task, Tracker

if TYPE_CHECKING:
    from torch import nn

    from ringlight.data.specs import Spec
    from ringlight.training.frozen import Frozen
    from ringlight.training.objectives import Objective
    from ringlight.training.plan import Plan
    from ringlight.training.rules import Rules
    from ringlight.training.task import ClassificationTask


def _ignore(history: History, validation: Prediction | None) -> None:
    """Nobody asked to be told."""


class DeepLearner:
    """Fits a module with a criterion as a configuration says.

    `folder` receives the checkpoints; `on_epoch` is called after every epoch with the history and the scores of the
    validation part. `metrics` are functions of (y_true, y_score) of your own, or
    :class:`ringlight.evaluation.custom_metrics.Metric`, that tell of the validation part in the history as `val/NAME`
    and may be monitored, as those that `training.metrics` names. After `fit`, `weights_from` tells which checkpoint the
    module's weights come from, `head_spec` what stands in the place of its linear classifier (empty: nothing), `notes`
    what happened on the way, `is_divided` whether steps were divided for want of memory, and `phases` what each phase
    of a run in phases did.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        spec: Spec,
        classes: tuple[str, ...],
        task: Task,
        config: Config | None = None,
        criterion: nn.Module | None = None,
        augmenter: SectionAugmenter | None = None,
        device: DeviceChoice | None = None,
        folder: Path | None = None,
        on_epoch: Callable[[History, Prediction | None], None] | None = None,
        metrics: Mapping[str, MetricFunction | Metric] | None = None,
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
        self.metrics = dict(metrics or {})
        self.weights_from: Path | None = None
        self.head_spec: dict[str, Any] = {}
        self.notes: list[str] = []
        self.is_divided = False
        self.phases: tuple[dict[str, Any], ...] = ()
        self.fingerprint = ""
        self._plan: Plan | None = None
        self.feeder = Feeder(spec, self.device, config=config, augmenter=augmenter)
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
        learner._plan = plan
        return learner

    def fit(
        self, train: Dataset, val: Dataset | None, *, tracker: Tracker, control: RunControl, resume: Path | None
    ) -> History:
        """Train, then put the best weights (the last ones without `val`) into the module.

        Raises:
            InterruptedRunError: the user or the control stopped it; what it goes on from is in the folder.
            TrainingError: the loss is not finite.
            EndTraining: `on_epoch` ended it; `last.ckpt` is that of its epoch.
        """
        from ringlight.training.callbacks import Heartbeat, Reporter, preparing
        from ringlight.training.checkpoints import Keeper
        from ringlight.training.compiling import uncompile
        from ringlight.training.engine import extras, make_trainer, midway_of
        from ringlight.training.memory import step_down_note

        config, criterion, folder = self._needs()
        metrics, size = further_metrics(config, self.metrics, self.task), int(config.data.batch_size)
        if config.training.mode == "head_then_finetune" and resume is None:
            frozen = self._frozen()
            frozen.install(frozen.fit(train, frozen.table(preparing(control)).of(train)))
        if self._plan is not None:
            self.feeder.open_cache(self._plan, preparing(control, every=1.0))
        monitor = config.training.monitor if val is not None and len(val) else None
        reporter = Reporter(tracker, self.on_epoch, config.training.num_epochs)
        midway = midway_of(config, folder)
        heartbeat = Heartbeat(control, config.training.num_epochs, size, reporter=reporter, midway=midway)
        chosen_by = None if config.training.restore == "last" else monitor
        keeper = Keeper(folder, chosen_by, None if chosen_by is None else monitor_mode(chosen_by, metrics=metrics))
        loader = self.feeder.train_loader(train, self._sampler(train))
        task = self._task(config, criterion, monitor, len(loader), train, metrics)
        judged = [] if monitor is None or val is None else list(self._judged_loaders(train, val))
        asked = judged[0] if len(judged) == 1 else judged or None
        with quiet_libraries(), translating_lost_workers(loader, *judged):
            told = [reporter, *extras(config, monitor, metrics), midway, keeper, heartbeat]
            try:
                make_trainer(config, self.device, told).fit(task, loader, asked, ckpt_path=resume, weights_only=True)
            finally:
                heartbeat.restore()
                self.feeder.release()
                uncompile(self.module)  # it is judged as it is served
        if reporter.ended is not None:
            raise reporter.ended
        self._restore(keeper.path)
        self.notes += [step_down_note(one) for one in task.step_downs]
        self.is_divided |= bool(task.step_downs)
        self.finish(train)
        return reporter.history

    def finish(self, train: Dataset) -> None:
        """Do what `imbalance.method` asks for after the training: fit the classifier again, or take the prior out."""
        from ringlight.training.imbalance import METHODS, take_out_prior

        plan = self._plan
        after = None if plan is None else METHODS[plan.config.imbalance.method].after
        if plan is None or after is None:
            return
        if after == "crt":
            from ringlight.training.frozen import retrain_classifier

            note = retrain_classifier(self._frozen(), train)
        else:
            note = take_out_prior(self.module, plan.seen, self.task, plan.config.imbalance.tau)
        self.notes.append(note)
        LOGGER.info(note)

    @property
    def plan(self) -> Plan:
        """The plan the learner was made from.

        Raises:
            RunError: it was made of single parts.
        """
        if self._plan is None:
            raise RunError(
                "a learner made from a plan", got="one of single parts", where="training.mode",
                fix="build it with DeepLearner.from_plan",
            )  # fmt: skip
        return self._plan

    def _frozen(self) -> Frozen:
        from ringlight.training.frozen import Frozen

        return Frozen.of_plan(self.plan)

    def _images_at_once(self, config: Config, shape: tuple[int, ...]) -> int | None:
        """Foresee on a CPU how many images a step may hold; a GPU that is full says so itself."""
        if self.device.kind == "cuda" or self.feeder.is_windows or not self.objective.divisible:
            return None
        from ringlight.training.memory import divided_note, foreseen

        limit = foreseen(self.module, shape, config)
        if limit is not None:
            self.is_divided = True
            self.notes.append(divided_note(limit))
        return limit

    def _lay_out(self, config: Config, train: Dataset) -> tuple[int, ...]:
        """Move the model to the device in the chosen layout, compiled if that was chosen; return a batch's shape."""
        from ringlight.training.speed import SpeedChoice, apply_speed

        shape = (self.feeder.batch_size, self.spec.in_chans, *self.feeder.size_of(train))
        apply_speed(self.module, SpeedChoice.of(config.training), shape, self.device)
        return shape

    def _judged_loaders(self, train: Dataset, val: Dataset) -> Sequence[Any]:  # noqa: ARG002 - for whoever looks at both
        """Return what is gone through after every epoch."""
        return (self.feeder.val_loader(val),)

    def _sampler(self, train: Dataset) -> EpochSampler | None:
        """Return the configured sampler over these records; None lets the loader shuffle."""
        return None if self._plan is None else sampler_of(self._plan.config, train, self.augmenter)

    def _needs(self) -> tuple[Config, nn.Module, Path]:
        if self.config is None or self.criterion is None or self.folder is None:
            raise RunError(
                "a learner with configuration, criterion and folder", got="one that was loaded to predict",
                where="DeepLearner.fit", fix="build it with DeepLearner.from_plan",
            )  # fmt: skip
        return self.config, self.criterion, self.folder

    def _task(
        self, config: Config, criterion: nn.Module, monitor: str | None, num_batches: int, train: Dataset,
        metrics: Mapping[str, Metric],
    ) -> ClassificationTask:  # fmt: skip
        from ringlight.training.engine import optimizer_of, schedule_of, sharpness_of
        from ringlight.training.mixes import mixer_of

        return self._task_kind()(
            self.module,
            criterion,
            classes=self.classes,
            task=self.task,
            seed=config.experiment.seed,
            optimizer=optimizer_of(config),
            schedule=schedule_of(config, monitor, num_batches, metrics),
            monitor=monitor,
            device_input=self.feeder.device_input(train),
            mixer=mixer_of(config),
            objective=self.objective,
            sharpness=sharpness_of(config),
            images_at_once=self._images_at_once(config, self._lay_out(config, train)),
            metrics=metrics,
            watched=() if monitor is None else tuple(monitors(config).values()),
        )

    def _task_kind(self) -> type[ClassificationTask]:
        """Return the Lightning task that trains the module."""
        from ringlight.training.task import ClassificationTask

        return ClassificationTask

    @property
    def objective(self) -> Objective:
        """How the loss of a step comes about."""
        from ringlight.training.objectives import Plain

        return Plain()

    def further(self, prediction: Prediction) -> dict[str, float]:
        """Return the metrics that were asked for beside those of every run, of records whose truth is known."""
        metrics = further_metrics(self._needs()[0], self.metrics, self.task)
        return measured(metrics, np.asarray(prediction.targets), prediction.probabilities)

    def _restore(self, checkpoint: Path) -> None:
        """Load the weights of a checkpoint (with EMA: the averaged ones) into the module, and merge its adapters."""
        import torch

        from ringlight.models.lora import merge_lora

        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        prefix = "module."
        self.module.load_state_dict(
            {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        )
        merge_lora(self.module)  # what is judged and saved is an ordinary model
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
            parts = [averaged(score, batch["input"], tta, self.task) for batch in self.feeder.loader(data)]
        return Prediction(data.ids, np.concatenate(parts), self.classes, self.task, data.targets())

    def bundle(self, metrics: dict[str, Any], rules: Rules | None = None) -> Bundle:
        """Describe the model as a bundle with its metrics and rules; a loaded model as it was described."""
        if self._origin is not None:
            return self._origin
        from ringlight.models.heads import head_spec_of

        config, _, _ = self._needs()
        head = self.head_spec or head_spec_of(self.module)
        return Bundle(
            architecture={
                "name": config.model.name,
                "in_chans": config.model.in_chans,
                "drop_rate": config.model.drop_rate,
                "params": config.model.params(),
                **({"head": head} if head else {}),
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
        # The batches it was judged in: the last digits of a score depend on how many images go together.
        learner.feeder.batch_size = int(bundle.training_config.get("data", {}).get("batch_size", JUDGED_BATCH))
        return learner
