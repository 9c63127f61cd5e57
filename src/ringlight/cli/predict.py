"""`ringlight predict`: score images or windows; the rows go to the terminal, or to a file as they come."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.predict_progress import predict_progress
from ringlight.cli.render import fail, print_json, print_json_line, print_table
from ringlight.errors import InterruptedRunError, UserError

if TYPE_CHECKING:
    from types import FrameType

    from ringlight.services.prediction_files import Done
    from ringlight.services.prediction_models import Asked
    from ringlight.services.predictions import Tally

Keep = Any

UNJUDGED = 3
"""The exit code where something could not be judged, and everything else was."""

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A run (its folder or name), a bundle, an export, or a version: NAME, NAME:3. None with --backbone_path.",
    ),
]
Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH...",
        help="Images, folders, patterns ('parts/**/*.png', in quotes), - for a list on standard input; for windows "
        ".npz files or folders of recordings.",
    ),
]
Ensemble = Annotated[
    list[str] | None,
    typer.Option("--ensemble", metavar="MODEL", help="Average with this model, too; may be given again."),
]
OutFile = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write rows to a .csv, .jsonl or .parquet, as they come."),
]
ExplainTo = Annotated[
    Path | None,
    typer.Option(
        "--explain", "--gradcam-dir", "--gradcam_dir", metavar="FOLDER", help="Write where the model looked here."
    ),
]


def predict(
    model: Model = None,
    paths: Paths = None,
    recursive: Annotated[bool, typer.Option(help="Go through folders with all below them.")] = True,
    operating_point: Annotated[
        str | None, typer.Option(metavar="NAME", help="Decide by this stored operating point, or `default`.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which a multi-label class counts (default: the model's own).")
    ] = None,
    tta: Annotated[
        int | None, typer.Option(min=1, max=8, help="Views of each image whose scores are averaged; 1 is off.")
    ] = None,
    ensemble: Ensemble = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images that go through the model together.")] = None,
    out: OutFile = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the file of --out where it was cut off.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow folders: judge what comes in, until Ctrl-C.")] = False,
    explain: ExplainTo = None,
    image_dir: Annotated[
        Path | None, typer.Option("--image-dir", "--image_dir", metavar="FOLDER", help="A folder, as PATH.")
    ] = None,
    backbone_path: Annotated[
        Path | None,
        typer.Option("--backbone-path", "--backbone_path", metavar="FILE", help="Weights of a backbone, no MODEL."),
    ] = None,
    head_path: Annotated[
        Path | None, typer.Option("--head-path", "--head_path", metavar="FILE", help="Weights of its classifier.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --backbone-path: the model's name, as model.name.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="With --backbone-path: the classes, in order.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="With --backbone-path: pixels a side of the model's input.")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Score images or windows: labels, a verdict (ok, defect, human), a probability for each class.

    What cannot be read becomes a row with an error; the rest is judged, and the exit code is 3.

    \b
    ringlight predict RUN part.png parts/ 'more/**/*.jpg'
    ringlight predict strips@active parts/ --out results.csv
    ringlight predict RUN parts/ --out results.parquet --resume
    ringlight predict RUN incoming/ --watch --out results.jsonl
    find parts -newer yesterday | ringlight predict RUN - --json
    """
    words = [] if paths is None else list(paths)
    two_files = (backbone_path, head_path, architecture, classes, image_size)
    if any(one is not None for one in two_files):
        words = [*([] if model is None else [model]), *words]
    words += [] if image_dir is None else [str(image_dir)]
    _check(words, two_files, model=model, resume=resume, out=out, ensemble=ensemble)
    from ringlight.services import prediction_models, predictions, two_file_models

    rules: dict[str, Any] = {"threshold": threshold, "operating_point": operating_point, "tta_runs": tta}
    if backbone_path is not None and head_path is not None:
        asked = two_file_models.ask_two_files(
            backbone_path, head_path, architecture=architecture, classes=classes, image_size=image_size, **rules
        )
    else:
        asked = prediction_models.ask([str(model), *(ensemble or ())], **rules, workspace=workspace)
    if watch:
        _watch(asked, words, recursive, out, resume, explain, batch_size, workspace, json)
        return
    lines = (os.fsdecode(line) for line in sys.stdin.buffer) if "-" in words else None
    inputs = predictions.inputs_of(asked, words, recursive=recursive, lines=lines, workspace=workspace)
    on_batch = _explaining(asked, explain)
    with _kept(asked, out, resume) as (keep, done, held), predict_progress(inputs.count(), _unit(asked)) as move:
        tally = predictions.Tally()
        _interruptible(
            lambda: predictions.judge_all(
                asked, inputs, keep, tally=tally, done=done, batch_size=batch_size, on_batch=on_batch,
                told=lambda so_far: move(so_far.seen, so_far.skipped),
            ),
            tally, out,
        )  # fmt: skip
    _tell(asked, tally, held, out, json)


def _check(
    words: Sequence[str], two_files: Sequence[object], *, model: str | None, resume: bool, out: Path | None,
    ensemble: Sequence[str] | None,
) -> None:  # fmt: skip
    where = "ringlight predict"
    if any(one is not None for one in two_files):
        if two_files[0] is None or two_files[1] is None:
            got = "one of them" if two_files[0] or two_files[1] else "neither"
            raise UserError("--backbone_path and --head_path", got=got, where=where, fix="a model needs both files")
        if ensemble:
            raise UserError("one model of two files", got="--ensemble beside it", where=where, fix="leave it out")
    elif model is None:
        raise UserError(
            "a model and what to score", got="neither", where=where, fix="write ringlight predict MODEL PATH..."
        )
    if not words:
        raise UserError(
            "at least one image, folder or file of windows", got="none", where=where, fix="name it behind the model"
        )
    if resume and out is None:
        raise UserError("--resume with --out FILE", got="no file", where=where, fix="name the file that was begun")


def _unit(asked: Asked) -> str:
    return "windows" if asked.scorer.takes_windows else "images"


def _explaining(asked: Asked, folder: Path | None) -> Callable[[Any], None] | None:
    if folder is None:
        return None
    from ringlight.services.prediction_explain import explaining

    return explaining(asked, folder)


@contextmanager
def _kept(
    asked: Asked, out: Path | None, resume: bool, row: Callable[[dict[str, Any]], None] | None = None
) -> Iterator[tuple[Keep, Done | None, list[dict[str, Any]]]]:
    """Yield where rows go, which were there before, and a list of them where no file is named.

    `row` prints a row at once; nothing is held then.
    """
    held: list[dict[str, Any]] = []

    def show(rows: Iterable[dict[str, Any]]) -> None:
        for one in rows:
            (held.append if row is None else row)(one)

    if out is None:
        yield show, None, held
        return
    from ringlight.services.prediction_files import open_rows

    file = open_rows(out, asked.columns, asked.settings, resume=resume)

    def write(rows: list[dict[str, Any]]) -> None:
        file.write(rows)
        if row is not None:
            show(rows)

    try:
        yield write, file.done, held
    except InterruptedRunError:
        file.close()
        raise
    else:
        file.close()


def _interruptible(work: Callable[[], None], tally: Tally, out: Path | None) -> None:
    """Do the work; Ctrl-C ends it in one line that says how it goes on."""
    try:
        work()
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "every record judged", got=f"Ctrl-C after {tally.seen + tally.skipped}", where="ringlight predict",
            fix="start it again" if out is None else f"go on with --out {out} --resume",
        ) from None  # fmt: skip


def _watch(
    asked: Asked, words: Sequence[str], recursive: bool, out: Path | None, resume: bool, explain: Path | None,
    batch_size: int | None, workspace: Path | None, json: bool,
) -> None:  # fmt: skip
    """Judge what comes into folders until Ctrl-C, or until it is asked to end."""
    from ringlight.services import predictions
    from ringlight.services.prediction_watch import FolderWatch, follow

    inputs = predictions.inputs_of(asked, (), workspace=workspace)
    watch = FolderWatch(
        [Path(word).expanduser() for word in words], extensions=inputs.extensions, recursive=recursive
    )  # fmt: skip
    tally = predictions.Tally()
    on_batch = _explaining(asked, explain)
    with _kept(asked, out, resume, _row_printer(json)) as (keep, done, _), _ended_by_terminating():
        try:
            for seen in follow(watch):
                items = (item for one in seen for item in inputs.items_of(one))
                predictions.judge_all(
                    asked, items, keep, tally=tally, done=done, batch_size=batch_size, on_batch=on_batch
                )
        except KeyboardInterrupt:
            fail("")  # the terminal shows ^C on this line
    _tell(asked, tally, [], out, json, quiet=json)


def _row_printer(json: bool) -> Callable[[dict[str, Any]], None]:
    def line(row: dict[str, Any]) -> None:
        said = row["error"] if "error" in row else f"{row['labels'] or '-'}  {row['verdict'] or '-'}"
        print(f"{row['id']}  {said}", flush=True)

    return print_json_line if json else line


@contextmanager
def _ended_by_terminating() -> Iterator[None]:
    """Let a request to end (SIGTERM, as `systemctl stop` sends) end the watch as Ctrl-C does."""

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's arguments
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _tell(
    asked: Asked, tally: Tally, held: Sequence[dict[str, Any]], out: Path | None, json: bool, quiet: bool = False
) -> None:
    """Print the rows that were held, or what became of those in the file; exit with 3 where some were not judged."""
    if json and not quiet:
        print_json(list(held) if out is None else {**tally.to_dict(), "out": str(out)})
    elif held:
        names = [column.name for column in asked.columns if column.name != "error" or tally.errors]
        print_table(names, [[_cell(row, name) for name in names] for row in held])
    elif not json:
        print(_summary(tally, out))
    failed = tally.errors + tally.former_errors
    if failed:
        first = f", the first: {tally.fault}" if tally.fault is not None else f"; they are in {out}"
        fail(f"{failed} could not be judged{first}")
        raise typer.Exit(UNJUDGED)


def _cell(row: dict[str, Any], name: str) -> Any:
    value = row.get(name)
    return "-" if value is None or value == "" else value


def _summary(tally: Tally, out: Path | None) -> str:
    judged = sum(tally.verdicts.values())
    parts = ", ".join(f"{count} {name}" for name, count in sorted(tally.verdicts.items()))
    before = f", {tally.skipped} before" if tally.skipped else ""
    return f"{judged} judged{before}{f': {parts}' if parts else ''}" + ("" if out is None else f"; {out}")
