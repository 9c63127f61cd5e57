"""Fake results of a run with everything a report can show, and its pictures: `python make.py FOLDER`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ringlight.evaluation.calibration import fit_calibration
from ringlight.evaluation.curves import class_curves, curves_dict
from ringlight.evaluation.energy import energy_histogram
from ringlight.evaluation.intervals import metric_intervals
from ringlight.evaluation.metrics import classification_metrics
from ringlight.evaluation.plant import is_defective, plant_measures
from ringlight.evaluation.plots_results import result_figures
from ringlight.evaluation.probabilities import reliability
from ringlight.evaluation.reject import reject_curve
from ringlight.evaluation.thresholds import fix_point

CLASSES = ("good", "scratch", "pore", "dent", "rolled-in scale", "edge crack")
SHARES = (0.52, 0.2, 0.13, 0.09, 0.04, 0.02)
DIFFICULTY = np.array([1.2, 1.5, 1.6, 1.4, 2.2, 2.4])


def scores(num_groups: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return class numbers, raw scores and groups of parts that were photographed two to four times each."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), rng.integers(2, 5, num_groups))
    truth = rng.choice(len(CLASSES), num_groups, p=SHARES)[groups]
    logits = rng.normal(0, 1, (len(truth), len(CLASSES)))
    logits += rng.normal(0, 1.2, (num_groups, len(CLASSES)))[groups]
    logits[np.arange(len(truth)), truth] += 5.0 / DIFFICULTY[truth]
    return truth, 2.2 * logits, groups


def softmax(logits: np.ndarray) -> np.ndarray:
    parts = np.exp(logits - logits.max(axis=1, keepdims=True))
    return parts / parts.sum(axis=1, keepdims=True)


def part_card(targets: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(targets, minlength=len(CLASSES)).tolist()
    return {
        "num_records": len(targets),
        "num_groups": len(set(groups.tolist())),
        "class_counts": dict(zip(CLASSES, counts, strict=True)),
    }


def full_results() -> dict[str, Any]:
    """Results of schema version 2 with every key that a report knows."""
    val_truth, val_logits, val_groups = scores(140, seed=1)
    truth, logits, groups = scores(150, seed=2)
    train_truth, _, train_groups = scores(700, seed=3)
    calibration = fit_calibration(val_logits, val_truth, "multiclass", groups=val_groups)
    raw, believed = softmax(logits), softmax(calibration.calibrator.apply(logits))
    decided = np.eye(len(CLASSES), dtype=bool)[believed.argmax(axis=1)]
    metrics = classification_metrics(truth, believed, CLASSES, "multiclass", groups=groups)
    intervals = metric_intervals(truth, believed, CLASSES, "multiclass", groups=groups, num_resamples=200)
    parts = {"train": (train_truth, train_groups), "val": (val_truth, val_groups), "test": (truth, groups)}
    before, after = (reliability(truth, values).to_dict() for values in (raw, believed))
    right = believed.argmax(axis=1) == truth
    rows = history()
    best = max(rows, key=lambda row: row["val/macro_f1"])
    outside = np.random.default_rng(4).normal(0, 1.4, (120, len(CLASSES)))
    return {
        "schema_version": 2,
        "run": "view_classifier-20261121-091500-3f9c",
        "recipe": "view_classifier",
        "experiment": "line 4, new light",
        "model": {
            "name": "convnext_tiny_cbam", "num_parameters": 28_210_342,
            "weights": {"source": "installed package", "note": "ImageNet", "sha256": "0" * 64},
        },
        "hyper_parameters": {
            "seed": 42, "optimizer.name": "adamw", "optimizer.lr": 0.0003, "optimizer.weight_decay": 0.0001,
            "training.num_epochs": 40, "training.ema_decay": None, "data.batch_size": 32, "loss.gamma": 2.0,
            **{f"augmentation.step_{number}": number % 2 == 0 for number in range(14)},
        },
        "loss": {"name": "focal_loss", "gamma": 2.0, "alpha": [0.2, 0.5, 0.6, 0.7, 0.9, 1.0]},
        "dataset": {
            "name": "strips of line 4", "fingerprint": "5b1e7a0c9d" * 6 + "04c2", "task": "multiclass",
            "classes": list(CLASSES), "num_records": sum(len(part[0]) for part in parts.values()),
        },
        "split": {
            "strategy": "stratified_70_15_15", "seed": 42, "groups": "near-duplicates found in the pixels",
            "leak_check": "near-duplicates found in the pixels, identical files: no leak found",
            "leaky": False, "leaks": [],
            "parts": {name: part_card(*part) for name, part in parts.items()},
            "probe": {
                "metric": "macro_f1", "random": {"value": 0.913, "low": 0.897, "high": 0.928},
                "grouped": {"value": 0.561, "low": 0.511, "high": 0.604}, "points": 35.2,
                "sentence": "random split .91, grouped split .56: 35 points are leakage",
                "classifier": "logistic regression on frozen tf_efficientnet_lite0 features",
            },
        },
        "best": {"monitor": "macro_f1", "epoch": best["epoch"], "metrics": best},
        "judged_part": "test",
        "test": {
            "loss": 0.213, **metrics.to_dict(), "intervals": intervals.to_dict(), "operating_point": "default",
            "good_class": "good", "plant": plant(truth, decided),
        },
        "calibration": {**calibration.to_dict(), "reliability": {"before": before, "after": after}},
        "operating_points": operating_points(val_truth, softmax(val_logits), truth, believed),
        "reject": reject_curve(believed, right).to_dict(),
        "curves": curves_dict(class_curves(truth, believed, CLASSES, "multiclass")),
        "energy": energy_histogram(logits, truth, CLASSES, outside={"other line": outside}).to_dict(),
        "slices": slices(right),
        "mistakes": mistakes(truth, believed, groups),
        "tta": {
            "runs": 4, "space": "probability", "cost": 3.8,
            "gain": {"metric": "macro_f1", "value": 0.012, "low": 0.003, "high": 0.021},
        },
        "ensemble": {
            "runs": None, "space": "probability", "cost": 2.0, "members": ["view_classifier-a", "view_classifier-b"],
            "gain": {"metric": "macro_f1", "value": 0.004, "low": -0.006, "high": 0.013},
        },
        "history": rows,
        "timings": {"fit": 512.31, "judge": 41.02},
        "environment": {
            "versions": {"torch": "2.14.1", "timm": "1.0.31", "ringlight": "0.1.0"}, "python": "3.11.9",
            "system": "Linux", "processor": "x86_64", "cpu_count": 8, "memory_gib": 31.2, "device": "cuda",
            "device_reason": "the first GPU", "num_threads": 8, "precision": "bf16", "reproducibility": "same numbers",
        },
        "notes": ["2 files that are no images were left out", "the weights come from an installed package"],
    }  # fmt: skip


def plant(truth: np.ndarray, decided: np.ndarray) -> dict[str, Any]:
    measures = plant_measures(
        is_defective(truth, CLASSES, "multiclass", "good"), is_defective(decided, CLASSES, "multiclass", "good"),
        prevalence=0.02, escape_cost=120.0, overkill_cost=4.0,
    ).to_dict()  # fmt: skip
    rates = ("escape_rate", "overkill_rate")
    return {**measures, "intervals": {name: [0.6 * measures[name], 1.5 * measures[name]] for name in rates}}


def operating_points(
    val_truth: np.ndarray, val_scores: np.ndarray, truth: np.ndarray, believed: np.ndarray
) -> list[dict[str, Any]]:
    wanted = {
        "max_f1": {"kind": "max_f1"},
        "find scratches": {"kind": "recall_at_least", "label": "scratch", "target": 0.9},
        "every edge crack": {"kind": "recall_at_least", "label": "edge crack", "target": 0.98},
        "cheapest": {"kind": "min_cost", "good_class": "good", "escape_cost": 120.0, "overkill_cost": 4.0},
    }
    rows = []
    for name, options in wanted.items():
        point = fix_point(name, options.pop("kind"), val_truth, val_scores, CLASSES, "multiclass", **options)
        decisions = point.decide(believed)
        reached = classification_metrics(truth, believed, CLASSES, "multiclass", decisions=decisions)
        defective = (is_defective(values, CLASSES, "multiclass", "good") for values in (truth, decisions))
        measures = plant_measures(*defective)
        label = point.label
        values = {
            "recall": reached.per_class[label]["recall"] if label else reached.scalars["macro_recall"],
            "precision": reached.per_class[label]["precision"] if label else reached.scalars["macro_precision"],
            "macro_f1": reached.scalars["macro_f1"],
            "escape_rate": measures.escape_rate,
            "overkill_rate": measures.overkill_rate,
        }
        bounds = {key: [max(0.0, value - 0.04), min(1.0, value + 0.03)] for key, value in values.items()}
        rows.append({**point.to_dict(), "test": {**values, "intervals": bounds}})
    return rows


def slices(right: np.ndarray) -> list[dict[str, Any]]:
    names = [("folder", f"camera {number}") for number in range(1, 5)] + [("size", "1600 x 256"), ("size", "800 x 256")]
    rows = []
    for index, (kind, name) in enumerate(names):
        inside = right[index :: len(names)]
        value, spread = float(inside.mean()), 1 / len(inside) ** 0.5
        rows.append({
            "by": kind, "name": name, "num_records": len(inside), "metric": "accuracy", "value": value,
            "low": max(0.0, value - spread), "high": min(1.0, value + spread),
        })  # fmt: skip
    return rows


def mistakes(truth: np.ndarray, believed: np.ndarray, groups: np.ndarray) -> list[dict[str, Any]]:
    guess = believed.argmax(axis=1)
    wrong = sorted(np.flatnonzero(guess != truth).tolist(), key=lambda row: -believed[row].max())[:8]
    return [
        {
            "id": f"line4/2026-11/part_{groups[row]:05d}_{row % 4}.png", "group": f"part_{groups[row]:05d}",
            "truth": [CLASSES[truth[row]]], "predicted": [CLASSES[guess[row]]], "score": float(believed[row].max()),
            "why": f"{CLASSES[guess[row]]} given at {believed[row].max():.2f}", "picture": f"mistake-{number:02d}",
        }
        for number, row in enumerate(wrong, 1)
    ]  # fmt: skip


def history() -> list[dict[str, float]]:
    epochs = np.arange(25)
    loss = 1.4 * np.exp(-epochs / 7) + 0.15
    score = 0.85 - 0.55 * np.exp(-epochs / 5) - 0.0008 * (epochs - 17) ** 2 * (epochs > 17)
    rates = 3e-4 * (1 + np.cos(np.pi * epochs / 25)) / 2
    return [
        {
            "epoch": int(epoch), "train/loss": float(loss[epoch]), "val/loss": float(1.1 * loss[epoch] + 0.05),
            "val/macro_f1": float(score[epoch]), "lr": float(rates[epoch]),
        }
        for epoch in epochs
    ]  # fmt: skip


def surface(seed: int, height: int, width: int) -> bytes:
    """Return a brushed surface with a bright scratch as PNG."""
    rng = np.random.default_rng(seed)
    pixels = 120 + 8 * rng.standard_normal((height, 1)) + 10 * rng.standard_normal((height, width))
    start = rng.integers(0, width // 2)
    for step in range(min(width // 3, height)):
        pixels[(height // 4 + step // 2) % height, start + step] += 90
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def full_pictures(results: dict[str, Any], *, dpi: int = 120) -> dict[str, bytes]:
    """The figures that the results give, and a surface for each mistake: two of them strips."""
    pictures: dict[str, bytes] = {}
    for name, figure in result_figures(results).items():
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dpi)
        pictures[name] = stream.getvalue()
    for number, mistake in enumerate(results["mistakes"], 1):
        size = (74, 480) if number > len(results["mistakes"]) - 2 else (200, 200)
        pictures[mistake["picture"]] = surface(number, *size)
    return pictures


def make(folder: Path) -> None:
    """Write `results.json` and `figures/*.png`."""
    results = full_results()
    (folder / "figures").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results, allow_nan=False), encoding="utf-8")
    for name, data in full_pictures(results).items():
        (folder / "figures" / f"{name}.png").write_bytes(data)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
