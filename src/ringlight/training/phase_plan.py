"""The plan of one phase: the run's own, with what the phase changes built anew."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringlight.config.phases import PhaseName
from ringlight.data.augment_batch import BatchAugmenter
from ringlight.data.augment_config import has_augmentation
from ringlight.data.preprocess import InputSpec
from ringlight.data.signal_augment import SignalAugmenter
from ringlight.training.build import augmentation_of, augmenter_of, prepare_head, put_adapters
from ringlight.training.drawing import sampler_of
from ringlight.training.feeding import num_batches
from ringlight.training.phase_config import phase_config, section_of

if TYPE_CHECKING:
    from ringlight.training.plan import Plan


def phase_plan(plan: Plan, name: PhaseName) -> Plan:
    """Return the plan of a phase, but for its model.

    A number of steps becomes one of epochs, which the records decide.
    """
    config = augmentation_of(phase_config(plan.config, name), plan.dataset.signals)
    made = replace(plan, config=config)
    if config.augmentation != plan.config.augmentation:
        made = _augmented(made)
    steps = section_of(config, name).steps
    if steps is None:
        return made
    views = config.supcon.num_views if name == "supcon" else 1
    keys = len(sampler_of(config, plan.part("train"), made.augmenter)) * views
    per_epoch = -(-num_batches(keys, int(config.data.batch_size) * views) // config.training.accumulate_steps)
    return replace(made, config=config.replacing({"training.num_epochs": -(-steps // per_epoch)}))


def _augmented(plan: Plan) -> Plan:
    config, train = plan.config, plan.part("train")
    if train.signals is None:
        if config.data.augment_on == "device" and not BatchAugmenter.supports(config.augmentation):
            config = config.replacing({"data.augment_on": "cpu"})
        return replace(plan, config=config, augmenter=augmenter_of(config, train))
    augmenter = None
    if has_augmentation(config.augmentation):
        augmenter = SignalAugmenter(config.augmentation, seed=config.experiment.seed, class_names=train.classes)
    return replace(plan, augmenter=augmenter)


def student_plan(plan: Plan) -> Plan:
    """Return the plan of the phase `distill` with the student as its model, and the student's input.

    Raises:
        ModelError: it cannot be built.
    """
    from ringlight.models import build_model, build_sequence_model

    config, classes = plan.config, len(plan.dataset.classes)
    model = config.model
    if not isinstance(plan.spec, InputSpec):
        built = build_sequence_model(
            model.name, num_classes=classes, in_chans=plan.spec.in_chans, length=plan.spec.length,
            drop_rate=model.drop_rate, task=plan.dataset.task, seed=config.experiment.seed, params=model.params(),
        )  # fmt: skip
        prepare_head(config, built.module)
        return replace(plan, module=built.module, weights=built.weights)
    built = build_model(
        model.name, num_classes=classes, in_chans=model.in_chans, drop_rate=model.drop_rate,
        pretrained=model.pretrained, weights_folder=config.weights.folder, image_size=plan.spec.size,
        params=model.params(),
    )  # fmt: skip
    put_adapters(config, built.module)
    prepare_head(config, built.module)
    resolved = config.replacing({"model.pretrained": built.weights.source != "random"})
    spec = replace(plan.spec, mean=built.mean, std=built.std)
    return replace(plan, config=resolved, module=built.module, weights=built.weights, spec=spec)
