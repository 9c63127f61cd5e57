"""Where heat maps point: each method against the masks of magnetic tiles and the boxes of NEU, and against chance.

One head on frozen EfficientNet-Lite0 features for each data set (magnetic tiles at 320 px, maximum over the picture,
bursts kept together; NEU at 224 px, mean), trained on seven tenths of the records. Of the test records of a defect, two
tenths of all, --images are drawn, as many of each class as there are; every method explains their true class.

* pointing game: share of maps whose greatest value lies on the defect, and within the paper's 15 pixels of it (a place
  of the feature map is 32 pixels of the input);
* IoU at the best threshold: of 0.1, 0.2, ..., 0.9 of the maximum, the one that is best for the method on all images
  together ;
* energy: share of the map's sum that lies on the defect;
* the same with the differences to the default, paired: the same resamples of bursts or images;
* sanity (Adebayo et al. 2018): rank correlation and SSIM of the maps before and after a new, random head, and after
  random weights everywhere. A method whose maps stay the same says nothing of the model; Eigen-CAM asks no head.

Score-CAM passes the model a hundred times for a map and is judged on the first --slow of the images, as many of each
class as there are; its differences are to the default on the same ones. Intervals: 95 %, bootstrap over bursts (tiles)
or images (NEU). Usage:

    python benchmarks/explain.py [--data tiles steel] [--images 120] [--slow 120] [--sanity 20] [--folder KEPT]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import ringlight as rl
from _data import burst_tiles, real_data
from ringlight.data.folder import FolderSource
from ringlight.data.folds import make_folds
from ringlight.data.preprocess import read_image
from ringlight.evaluation.localisation import energy_inside, mask_iou, pointing_game, similarity
from ringlight.evaluation.means import mean_interval
from ringlight.evaluation.units import Units, find_units
from ringlight.explain.cam import METHODS
from ringlight.files import write_csv
from ringlight.inference.explaining import Explainer, write_explanations
from ringlight.inference.heat_maps import DEFAULT_METHOD
from ringlight.inference.predictor import Predictor
from ringlight.models.heads import classifier_of
from ringlight.types import Dataset

THRESHOLDS = [share / 10 for share in range(1, 10)]
NEAR = 15
SLOW = "score_cam"
QUICK = [name for name in METHODS if name != SLOW]


@dataclass
class Case:
    """A trained model and the records that its maps are judged on."""

    name: str
    predictor: Predictor
    files: list[str]
    labels: list[str]
    groups: list[str] | None
    masks: list[npt.NDArray[np.bool_]]


def tile_mask(image: str) -> npt.NDArray[np.bool_]:
    """Return the mask beside a tile; 388 of them are anti-aliased."""
    return np.asarray(read_image(Path(image).with_suffix(".png"), in_chans=1)[..., 0] > 127)


def steel_mask(image: str) -> npt.NDArray[np.bool_]:
    """Return what the boxes of the image's own class cover; corners are 1-based and belong to the box."""
    path = Path(image)
    tree = ET.parse(path.parents[1] / "annotations" / f"{path.stem}.xml")
    mask = np.zeros(read_image(path, in_chans=1).shape[:2], np.bool_)
    for item in tree.iter("object"):
        if item.findtext("name") == path.stem.rpartition("_")[0]:
            x_min, y_min, x_max, y_max = (int(item.findtext(f"bndbox/{key}", "0")) for key in
                                          ("xmin", "ymin", "xmax", "ymax"))  # fmt: skip
            mask[y_min - 1 : y_max, x_min - 1 : x_max] = True
    return mask


def trained(name: str, data: Dataset, folder: Path, settings: list[str], grouped: bool) -> tuple[Predictor, Dataset]:
    """Train a head on frozen features of seven tenths, one more to validate on; return it and its test part."""
    folds = make_folds(data, num_folds=10, kind="group" if grouped else "stratified", seed=0)
    part = np.full(len(data), "train", object)
    for number in (0, 1):
        part[folds[number][1]] = "test"
    part[folds[2][1]] = "val"
    labels = [data.classes[record] for record in data.targets().tolist()]
    rows = [
        {"path": uri, "label": label, "split": where, "group": group or ""}
        for uri, label, where, group in zip(data.table.column("uri").to_pylist(), labels, part, data.groups or
                                            [None] * len(data), strict=True)
    ]  # fmt: skip
    write_csv(folder / "labels.csv", rows)
    finished = sorted((folder / "workspace" / "runs").glob("*/bundle/bundle.json"))
    if not finished:
        rl.train(
            "frozen", ["data=table", f"data.root={folder}", "data.split_column=split", "data.label_columns=label",
                       "split=predefined", "split.groups=none", "split.allow_leak=true", "split.leak_probe=false",
                       "model.pretrained=true", *settings], workspace=folder / "workspace",
        )  # fmt: skip
        finished = sorted((folder / "workspace" / "runs").glob("*/bundle/bundle.json"))
    scores = json.loads((finished[-1].parents[1] / "results.json").read_text())["test"]["scalars"]
    print(f"{name}: test accuracy {scores['accuracy']:.3f}, macro-F1 {scores['macro_f1']:.3f}", flush=True)
    return rl.load(finished[-1].parent), data.take(np.flatnonzero(part == "test"))


def drawn(
    name: str, predictor: Predictor, test: Dataset, count: int, mask_of: Callable[[str], npt.NDArray[np.bool_]],
    good: str | None,
) -> Case:  # fmt: skip
    """Draw as many test records of each class of a defect as there are, up to `count` in all."""
    rng = np.random.default_rng(0)
    files, targets = test.table.column("uri").to_pylist(), test.targets()
    of_class = {k: list(rng.permutation(np.flatnonzero(targets == k))) for k, c in enumerate(test.classes) if c != good}
    rows: list[int] = []
    while len(rows) < count and any(of_class.values()):
        for waiting in of_class.values():
            while waiting and len(rows) < count:
                row = int(waiting.pop())
                if mask_of(files[row]).any():  # four masks of tiles are empty
                    rows.append(row)
                    break
    kept = [files[row] for row in rows]
    groups = None if test.groups is None else [test.groups[row] for row in rows]
    names = [test.classes[targets[row]] for row in rows]
    return Case(name, predictor, kept, names, groups, [mask_of(file) for file in kept])


def maps_of(case: Case, method: str, count: int) -> tuple[list[npt.NDArray[np.float32]], float]:
    """Return a method's maps of the true class of the first records, and its seconds an image."""
    explainers = {label: Explainer(case.predictor, method=method, classes=[label]) for label in set(case.labels)}
    files, started = case.files[:count], time.perf_counter()
    found = [explainers[label].explain(file)[0].map for file, label in zip(files, case.labels, strict=False)]
    return found, (time.perf_counter() - started) / len(files)


def judged(case: Case, slow: int) -> None:
    """Print every method's scores, and the paired differences to the default."""
    units = find_units(case.groups, len(case.files))
    chance = np.array([mask.mean() for mask in case.masks])
    print(f"{case.name}: {len(case.files)} records, {units.num_units} {units.kind}s; the defect covers "
          f"{chance.mean():.3f} of a picture, which is what a point anywhere hits, energy spread evenly has inside, "
          "and the IoU of marking everything", flush=True)  # fmt: skip
    default: list[npt.NDArray[np.float64]] = []
    for method in [DEFAULT_METHOD, *(name for name in QUICK if name != DEFAULT_METHOD), SLOW]:
        heats, seconds = maps_of(case, method, slow if method == SLOW else len(case.files))
        kept = find_units(None if case.groups is None else case.groups[: len(heats)], len(heats))
        pairs = list(zip(heats, case.masks, strict=False))
        ious = np.array([[mask_iou(heat, mask, threshold=share) for share in THRESHOLDS] for heat, mask in pairs])
        best = int(ious.mean(axis=0).argmax())
        columns = [
            np.array([float(pointing_game(heat, mask)) for heat, mask in pairs]),
            np.array([float(pointing_game(heat, mask, tolerance=NEAR)) for heat, mask in pairs]),
            ious[:, best],
            np.array([energy_inside(heat, mask) for heat, mask in pairs]),
        ]
        names = ("pointing", f"within {NEAR} px", f"IoU@{THRESHOLDS[best]:.1f}", "energy")
        told = "  ".join(f"{name} {_told(values, kept)}" for name, values in zip(names, columns, strict=True))
        print(f"  {method:12} {told}  {len(heats)} images, {1000 * seconds:.0f} ms each", flush=True)
        if method == DEFAULT_METHOD:
            default = columns
            continue
        told = "  ".join(
            f"{name} {_told(values - own[: len(values)], kept)}"
            for name, values, own in zip(names, columns, default, strict=True)
        )
        print(f"  {'':12} minus {DEFAULT_METHOD}: {told}", flush=True)


def _told(values: npt.NDArray[np.float64], units: Units) -> str:
    found = mean_interval(values, units)
    return f"{values.mean():.3f} [the same everywhere]" if found is None else str(found)


def sanity(case: Case, methods: Sequence[str], count: int) -> None:
    """Print how alike maps stay when the head, or everything, is made random."""
    before = {method: maps_of(case, method, count)[0] for method in methods}
    module = case.predictor.module
    state = {key: value.clone() for key, value in module.state_dict().items()}
    for title, redrawn in (("head", classifier_of(module)), ("all", module)):
        torch.manual_seed(0)
        redraw(redrawn)
        for method in methods:
            after = maps_of(case, method, count)[0]
            alike = np.array([similarity(*pair) for pair in zip(before[method], after, strict=True)])
            ranks, structure = alike.mean(axis=0)
            print(f"  random {title:4} {method:12} rank correlation {ranks:+.3f}, SSIM {structure:.3f}", flush=True)
        module.load_state_dict(state)


def redraw(module: nn.Module) -> None:
    """Draw every weight anew, as the layers were born."""
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=["tiles", "steel"], default=["tiles", "steel"])
    parser.add_argument("--images", type=int, default=120, help="of each data set")
    parser.add_argument("--slow", type=int, default=120, help="of these for Score-CAM")
    parser.add_argument(
        "--sanity", type=int, default=20, help="images of the sanity check; a fifth of them for Score-CAM"
    )
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as it takes")
    parser.add_argument("--folder", type=Path, help="keep models and features there, to go on with them")
    parser.add_argument("--pictures", type=Path, help="write overlays of the first images there")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as name:
        for title in chosen.data:
            folder = (chosen.folder or Path(name)) / title
            folder.mkdir(parents=True, exist_ok=True)
            case = CASES[title](folder, chosen.images)
            judged(case, chosen.slow)
            sanity(case, QUICK, chosen.sanity)
            sanity(case, [SLOW], max(1, chosen.sanity // 5))
            for method in QUICK if chosen.pictures is not None else ():
                found = Explainer(case.predictor, method=method).explain(case.files[:12])
                write_explanations(chosen.pictures / case.name / method, found, style="side_by_side", raw=False)


def tiles(folder: Path, count: int) -> Case:
    """Train on magnetic tiles, and draw `count` test records of a defect."""
    settings = ["data.image_size=320", "model.global_pool=max", "data.group_column=group"]
    predictor, test = trained("magnetic tiles", burst_tiles(), folder, settings, grouped=True)
    return drawn("magnetic tiles", predictor, test, count, tile_mask, "MT_Free")


def steel(folder: Path, count: int) -> Case:
    """Train on NEU, and draw `count` test records."""
    data = FolderSource(real_data("neu-det") / "images", label_regex=r"^(.+)_\d+\.jpg$").load()
    predictor, test = trained("NEU", data, folder, ["data.image_size=224"], grouped=False)
    return drawn("NEU", predictor, test, count, steel_mask, None)


CASES = {"tiles": tiles, "steel": steel}


if __name__ == "__main__":
    main()
