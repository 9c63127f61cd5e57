"""Where heat maps point: each method against the masks of magnetic tiles and the boxes of NEU, and against chance.

One head on frozen EfficientNet-Lite0 features for each data set (magnetic tiles at 320 px, maximum over the picture,
bursts kept together; NEU at 224 px, mean), trained on seven tenths of the records. Of the test records of a defect, two
tenths of all, --images are drawn, as many of each class as there are; every method explains their true class.

* pointing game: share of maps whose greatest value lies on the defect; beside it what a point anywhere would hit;
* IoU at the best threshold: of 0.1, 0.2, ..., 0.9 of the maximum, the one that is best for the method on all images
  together (beside it the IoU of marking everything);
* energy: share of the map's sum that lies on the defect;
* the same with the differences to the default, paired: the same resamples of bursts or images;
* sanity (Adebayo et al. 2018): rank correlation and SSIM of the maps before and after a new, random head, and after
  random weights everywhere. A method whose maps stay the same says nothing of the model; Eigen-CAM asks no head.

Intervals: 95 %, bootstrap over bursts (tiles) or images (NEU). Usage:

    python benchmarks/explain.py [--images 120] [--sanity 20] [--threads 0] [--pictures FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from ringlight.evaluation.units import find_units
from ringlight.explain.cam import METHODS
from ringlight.files import write_csv
from ringlight.inference.explaining import Explainer, write_explanations
from ringlight.inference.heat_maps import DEFAULT_METHOD
from ringlight.inference.predictor import Predictor
from ringlight.models.heads import classifier_of
from ringlight.types import Dataset

THRESHOLDS = [share / 10 for share in range(1, 10)]
Maps = dict[str, list[npt.NDArray[np.float32]]]


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
    run = rl.train(
        "frozen", ["data=table", f"data.root={folder}", "data.split_column=split", "data.label_columns=label",
                   "split=predefined", "split.groups=none", "split.allow_leak=true", "model.pretrained=true",
                   "split.leak_probe=false", *settings], workspace=folder / "workspace",
    )  # fmt: skip
    scores = run.results["test"]["scalars"]
    print(f"{name}: test accuracy {scores['accuracy']:.3f}, macro-F1 {scores['macro_f1']:.3f}", flush=True)
    return rl.load(run), data.take(np.flatnonzero(part == "test"))


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


def maps_of(case: Case, methods: list[str], count: int | None = None) -> tuple[Maps, dict[str, float]]:
    """Return each method's map of the true class of each record, and its seconds an image."""
    found: Maps = {}
    seconds: dict[str, float] = {}
    for method in methods:
        explainers = {label: Explainer(case.predictor, method=method, classes=[label]) for label in set(case.labels)}
        files, started = case.files[:count], time.perf_counter()
        found[method] = [
            explainers[label].explain(file)[0].map for file, label in zip(files, case.labels, strict=False)
        ]
        seconds[method] = (time.perf_counter() - started) / len(files)
    return found, seconds


def judged(case: Case, maps: Maps, seconds: dict[str, float]) -> None:
    """Print every method's scores, and the paired differences to the default."""
    units = find_units(case.groups, len(case.files))
    chance = np.array([mask.mean() for mask in case.masks])
    print(f"{case.name}: {len(case.files)} records, {units.num_units} {units.kind}s; the defect covers "
          f"{chance.mean():.3f} of a picture, which is what a point anywhere hits, energy spread evenly has inside, "
          "and the IoU of marking everything")  # fmt: skip
    columns: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for method, heats in maps.items():
        pairs = list(zip(heats, case.masks, strict=True))
        ious = np.array([[mask_iou(heat, mask, threshold=share) for share in THRESHOLDS] for heat, mask in pairs])
        best = int(ious.mean(axis=0).argmax())
        columns[method] = {
            "pointing": np.array([float(pointing_game(heat, mask)) for heat, mask in pairs]),
            f"IoU@{THRESHOLDS[best]:.1f}": ious[:, best],
            "energy": np.array([energy_inside(heat, mask) for heat, mask in pairs]),
        }
        told = "  ".join(f"{name} {_told(values, units)}" for name, values in columns[method].items())
        print(f"  {method:12} {told}  {1000 * seconds[method]:.0f} ms", flush=True)
    for method, found in columns.items():
        if method != DEFAULT_METHOD:
            pairs = zip(columns[DEFAULT_METHOD].values(), found.values(), ("pointing", "IoU", "energy"), strict=True)
            told = "  ".join(f"{name} {_told(other - own, units)}" for own, other, name in pairs)
            print(f"  {method:12} minus {DEFAULT_METHOD}: {told}", flush=True)


def _told(values: npt.NDArray[np.float64], units: object) -> str:
    found = mean_interval(values, units)  # type: ignore[arg-type]
    return f"{values.mean():.3f} [same everywhere]" if found is None else str(found)


def sanity(case: Case, count: int) -> None:
    """Print how alike maps stay when the head, or everything, is made random."""
    methods = list(METHODS)
    before, _ = maps_of(case, methods, count)
    module = case.predictor.module
    state = {key: value.clone() for key, value in module.state_dict().items()}
    for title, redrawn in (("head", classifier_of(module)), ("all", module)):
        torch.manual_seed(0)
        redraw(redrawn)
        after, _ = maps_of(case, methods, count)
        module.load_state_dict(state)
        for method in methods:
            alike = np.array([similarity(*pair) for pair in zip(before[method], after[method], strict=True)])
            ranks, structure = alike.mean(axis=0)
            print(f"  random {title:4} {method:12} rank correlation {ranks:+.3f}, SSIM {structure:.3f}", flush=True)


def redraw(module: nn.Module) -> None:
    """Draw every weight anew, as the layers were born."""
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=120, help="of each data set")
    parser.add_argument("--sanity", type=int, default=20, help="images of the sanity check")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as it takes")
    parser.add_argument("--pictures", type=Path, help="write overlays of the first images there")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as name:
        tiles, steel = Path(name) / "tiles", Path(name) / "steel"
        tiles.mkdir()
        steel.mkdir()
        data = burst_tiles()
        predictor, test = trained(
            "magnetic tiles", data, tiles, ["data.image_size=320", "model.global_pool=max", "data.group_column=group"],
            grouped=True,
        )  # fmt: skip
        cases = [drawn("magnetic tiles", predictor, test, chosen.images, tile_mask, "MT_Free")]
        images = real_data("neu-det") / "images"
        data = replace(FolderSource(images, label_regex=r"^(.+)_\d+\.jpg$").load(), name="NEU")
        predictor, test = trained("NEU", data, steel, ["data.image_size=224"], grouped=False)
        cases.append(drawn("NEU", predictor, test, chosen.images, steel_mask, None))
        for case in cases:
            judged(case, *maps_of(case, list(METHODS)))
            sanity(case, chosen.sanity)
            if chosen.pictures is not None:
                for method in METHODS:
                    explainer = Explainer(case.predictor, method=method)
                    write_explanations(
                        chosen.pictures / case.name / method, explainer.explain(case.files[:12]), style="side_by_side"
                    )


if __name__ == "__main__":
    main()
