"""`ringlight models export`: a trained model for another runtime, proved to be the same model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json
from ringlight.errors import UserError

if TYPE_CHECKING:
    from ringlight.inference.export_files import Export


def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A run (its folder or name), a bundle, or a version: NAME, NAME@3."),
    ],
    format: Annotated[
        str, typer.Option(metavar="FORMAT", help="onnx, openvino, torchscript or torch_export.")
    ] = "onnx",
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half precision (OpenVINO: of the stored weights); inputs stay as they are.")
    ] = False,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="OpenVINO computes in bfloat16; probabilities move, the report says how far.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="8-bit whole numbers, calibrated on training records, refused where it decides worse."
        ),
    ] = False,
    max_loss: Annotated[
        float | None, typer.Option(metavar="X", help="--int8: macro-F1 that may be lost (default: 0.002).")
    ] = None,
    guard: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="--int8: the recall of this class may not fall (may be repeated)."),
    ] = None,
    accept_undecided: Annotated[
        bool, typer.Option("--accept-undecided", help="--int8: go on where too few records say how good it is.")
    ] = False,
    max_drift: Annotated[
        float | None,
        typer.Option(metavar="X", help="--int8: how far scores may be off, relative to their size (default: 0.15)."),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="--int8: a layer that stays in single precision, as a refusal names it (may be repeated).",
        ),
    ] = None,
    opset: Annotated[int | None, typer.Option(metavar="N", help="ONNX's operator set (default: 18).")] = None,
    raw_input: Annotated[
        bool,
        typer.Option(
            "--raw-input",
            help="The graph takes pixels (uint8, B x H x W x C, of the model's size), or windows in physical units.",
        ),
    ] = False,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="The graph gives calibrated probabilities beside the scores.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A new folder (default: one in the workspace's exports/).")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(metavar="X", help="How far a probability may move (default: 1e-4, with --fp16 1e-2)."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Labelled records to check it on (default: the run's validation part)."),
    ] = None,
    records: Annotated[
        int, typer.Option(metavar="N", help="Check it on so many of them at most, evenly spaced.")
    ] = 200,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Write a model for another runtime, and prove on real records that it still is the model that was trained.

    An export that scores otherwise than PyTorch is refused, and nothing is written.

    \b
    ringlight models export RUN
    ringlight models export strips@3 --format openvino --out line2/
    ringlight models export BUNDLE --raw-input --calibrated --data parts/
    """
    if fp16 and bf16:
        raise UserError("one of --fp16 and --bf16", got="both", where="ringlight models export", fix="leave one out")
    own = {
        "--max-loss": max_loss is not None, "--guard": bool(guard), "--accept-undecided": accept_undecided,
        "--max-drift": max_drift is not None, "--keep-float": bool(keep_float),
    }  # fmt: skip
    if not int8 and any(own.values()):
        named = ", ".join(name for name, is_there in own.items() if is_there)
        raise UserError(
            f"--int8 beside {named}", got="none", where="ringlight models export", fix="add --int8, or leave it out"
        )
    from ringlight.services.exports import export as do

    made = do(
        model, format=format, precision="f16" if fp16 else "bf16" if bf16 else "f32", opset=opset,
        preprocess=raw_input, calibrated=calibrated, tolerance=tolerance, data=data, num_records=records, out=out,
        int8=int8, max_loss=max_loss, guarded=guard, accept_undecided=accept_undecided, max_drift=max_drift,
        keep_float=keep_float or (), workspace=workspace,
    )  # fmt: skip
    if json:
        print_json(made.to_dict())
    else:
        _print(made)


def _print(made: Export) -> None:
    from ringlight.inference.export_parity import lines_of

    facts = made.facts
    opset = "" if facts["opset"] is None else f", operator set {facts['opset']}"
    size = f"{facts['num_bytes'] / 1e6:.1f} MB"
    print(f"{made.model}: {facts['format']}, {facts['precision']}{opset}, {size}")
    print(f"{facts['input']} -> {', '.join(facts['outputs'])}")
    for line in lines_of(facts["parity"]):
        print(line)
    for line in facts.get("int8", {}).get("lines", ()):
        print(line)
    if "bf16" in facts:
        print("in bfloat16, as it will run:")
        for line in lines_of(facts["bf16"])[1:]:
            print(f"  {line}")
