"""What the watches of a running server say, read from its metrics page."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request

from ringlight.errors import UserError
from ringlight.inference.watch_status import WatchStatus

METRIC = "ringlight_watch"
"""The gauge with the labels `model` and `name` (:meth:`WatchStatus.numbers`)."""
SECONDS = 5.0
MOST_BYTES = 16 << 20

LINE = re.compile(rf"{METRIC}\{{(?P<labels>.*)\}} (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPED = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def watch_server(url: str) -> list[WatchStatus]:
    """Return the status of every watch of a server, as `GET URL/metrics` tells it.

    Raises:
        UserError: no address of a server, no answer, or a server without a watch.
    """
    where = "--url"
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UserError("an address such as http://127.0.0.1:8000", got=f"`{url}`", where=where, fix="correct it")
    address = urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + "/metrics", "", ""))
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            text = answer.read(MOST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError) as error:  # URLError is an OSError
        got = " ".join(str(getattr(error, "reason", error)).split())
        raise UserError(
            f"an answer from {address}", got=got, where=where, fix="check that `ringlight serve` runs there"
        ) from error
    found = statuses_of(text)
    if not found:
        fix = "serve a model that has a reference; see `ringlight watch MODEL IMAGES --take-reference FILE`"
        raise UserError("a server whose models are watched", got="no watch", where=address, fix=fix)
    return found


def statuses_of(text: str) -> list[WatchStatus]:
    """Return the status of every model that a metrics page tells of.

    Raises:
        DataError: numbers are missing.
    """
    numbers: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        found = LINE.fullmatch(line.strip())
        if found is not None:
            labels = {name: _plain(value) for name, value in LABEL.findall(found["labels"])}
            if "model" in labels and "name" in labels:
                numbers.setdefault(labels["model"], {})[labels["name"]] = float(found["value"])
    return [WatchStatus.of_numbers(model, values) for model, values in numbers.items()]


def _plain(text: str) -> str:
    return re.sub(r'\\[n"\\]', lambda found: ESCAPED[found[0]], text)
