"""`ringlight serve` and `ringlight keys`: models over HTTP, and who may ask them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json, print_table
from ringlight.errors import UserError

keys = typer.Typer(
    help="Make, list and take back the API keys of the server.", no_args_is_help=True, rich_markup_mode=None
)

KeysFile = Annotated[
    Path | None, typer.Option("--keys", metavar="FILE", help="The file of keys (default: that of the workspace).")
]
MOST_PIXELS = 178_000_000
"""Pillow refuses larger pictures by itself."""


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A run, a bundle, an export, or a version: NAME (whichever is active), NAME@3. NAME=MODEL names it.",
        ),
    ],
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="0.0.0.0 for every network; needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes; each has the models, and its share of the cores.")
    ] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the engine, in each worker (default: cores / workers).")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="NAME", help="onnxruntime, openvino or torch (default: the model's own).")
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Images or windows in a batch (default: 8 images, 256 windows).")
    ] = None,
    max_wait_ms: Annotated[float, typer.Option(min=0.0, max=1000.0, help="How long the first of a batch waits.")] = 2.0,
    queue: Annotated[
        int | None, typer.Option(min=1, help="Images or windows that wait, and in one request (default: 8 batches).")
    ] = None,
    p99_budget_ms: Annotated[
        float, typer.Option(min=1.0, help="A request that would wait longer is refused at once, with 429.")
    ] = 1000.0,
    max_bytes: Annotated[int, typer.Option(min=1024, max=1 << 31, help="Of a request's body.")] = 32 << 20,
    max_pixels: Annotated[
        int, typer.Option(min=1, max=MOST_PIXELS, help="Of the pictures of a request together.")
    ] = 32_000_000,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds from a request to its answer.")] = 10.0,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Requests a second of one client (default: no limit).")
    ] = None,
    keys_file: KeysFile = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask for no key, on any network.")] = False,
    drain: Annotated[
        float, typer.Option(min=0.0, help="Seconds that requests are still accepted after SIGTERM; /readyz says 503.")
    ] = 0.0,
    save_uncertain: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep images that are unsure or of no known class here, for labelling."),
    ] = None,
    save_files: Annotated[int, typer.Option(min=1, help="Files kept of each model; the least telling leave.")] = 1000,
    save_bytes: Annotated[int, typer.Option(min=1, help="Bytes kept of each model.")] = 1 << 30,
    workspace: Workspace = None,
) -> None:
    """Serve models over HTTP until SIGTERM or Ctrl-C.

    \b
    ringlight serve RUN
    ringlight serve strips --host 0.0.0.0 --keys keys.json
    ringlight serve strips air=air_leak@2 --workers 4 --max-batch 16
    """
    from ringlight.web.serving.settings import Settings

    file = guarded(host, keys_file, no_auth=no_auth, workspace=workspace)
    settings = Settings(
        models=tuple(models), workspace=workspace, host=host, port=port, workers=workers, threads=threads,
        engine=engine, max_batch=max_batch, max_wait_ms=max_wait_ms, queue=queue, p99_budget_ms=p99_budget_ms,
        max_bytes=max_bytes, max_pixels=max_pixels, timeout=timeout, rate=rate, keys=file, drain=drain,
        samples=save_uncertain, max_samples=save_files, max_sample_bytes=save_bytes,
    )  # fmt: skip
    from ringlight.web.serving.server import serve as run

    run(settings)


def guarded(host: str, file: Path | None, *, no_auth: bool, workspace: Path | None) -> Path | None:
    """Return the file of keys a server asks by; None where it asks for none: on this machine alone, or when told so.

    Raises:
        UserError: others could reach it, and there are no keys; keys, and `--no-auth` beside them.
    """
    from ringlight.services.api_keys import keys_file, read_keys

    if no_auth and file is not None:
        raise UserError("--keys FILE or --no-auth", got="both", where="ringlight serve", fix="leave one out")
    if no_auth or (file is None and is_loopback(host)):
        return None
    found = keys_file(file, workspace)
    if file is None and not found.exists():
        raise UserError(
            "API keys, since others can reach this address", got="none", where=f"--host {host}",
            fix="make one: ringlight keys add NAME; or say --no-auth",
        )  # fmt: skip
    if not read_keys(found):
        raise UserError("at least one API key", got="none", where=str(found), fix="make one: ringlight keys add NAME")
    return found


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    Examples:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "line-2")]
        [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@keys.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is: a line, a station, a person.")],
    keys_file: KeysFile = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Make a key and print it, this once: only its digest is kept."""
    from ringlight.services.api_keys import add_key
    from ringlight.services.api_keys import keys_file as place

    file = place(keys_file, workspace)
    key = add_key(name, file)
    if json:
        print_json({"name": name, "key": key, "file": str(file)})
    else:
        print(key)


@keys.command("list")
def list_(
    keys_file: KeysFile = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List whose keys there are; the keys themselves are not known."""
    from ringlight.services.api_keys import keys_file as place
    from ringlight.services.api_keys import read_keys

    found = read_keys(place(keys_file, workspace))
    if json:
        print_json([{"name": key.name, "created": key.created} for key in found])
    else:
        print_table(("name", "created"), [(key.name, key.created) for key in found])


@keys.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key.")],
    keys_file: KeysFile = None,
    workspace: Workspace = None,
) -> None:
    """Take a key back; a server that runs refuses it within seconds."""
    from ringlight.services.api_keys import keys_file as place
    from ringlight.services.api_keys import remove_key

    file = place(keys_file, workspace)
    remove_key(name, file)
    print(f"{name}: its key opens nothing any more ({file})")
