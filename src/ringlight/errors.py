"""The exception tree. Every message says what was expected, what came, where, and what to do next.

One fault is one line. Faults that are found together are raised together, a line each
(:class:`Problems`), so that a user mends a configuration or a data set in one go.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, Self
from urllib.parse import unquote


class RinglightError(Exception):
    """Anything Ringlight refuses or fails at, in one line.

    Examples:
        >>> print(RinglightError("a number above 0", got="-1", where="training.num_epochs", fix="set it to 1 or more"))
        training.num_epochs: expected a number above 0, got -1; set it to 1 or more
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, expected: str, *, got: str, where: str, fix: str) -> None:
        self.expected = expected
        self.got = got
        self.where = where
        self.fix = fix
        super().__init__(f"{where}: expected {expected}, got {got}; {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        # The keyword-only constructor would lose its arguments on the way back from a loader's worker process.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[RinglightError], args: tuple[object, ...], state: dict[str, object]) -> RinglightError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UserError(RinglightError):
    """The user can mend it: a wrong key, a missing file, an impossible request. Exit code 2."""

    exit_code: ClassVar[int] = 2


class ConfigError(UserError):
    """A configuration key, value or part name is wrong."""


class DataError(UserError):
    """A file, row or label of the data set cannot be used."""


class SplitError(UserError):
    """The records cannot be split as asked."""


class ModelError(UserError):
    """A model cannot be built as asked: wrong sizes, weights that are not there."""


class BundleError(UserError):
    """A saved model is damaged, of an unknown version, or does not fit its input."""


class RunError(UserError):
    """A run folder is missing, incomplete, or cannot be resumed or compared."""


class JobError(UserError):
    """There is no such job, or it cannot do what it is asked to as it stands."""


class WorkspaceError(UserError):
    """The workspace cannot be written: permissions, a full disk."""


class TrackerError(UserError):
    """A tracker's server cannot be reached, or refuses what it is told."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is not installed; the message names the extra."""


class TrainingError(RinglightError):
    """Training failed for a reason that lies in the run itself (a loss that is not finite)."""


class LeaseLostError(RinglightError):
    """A worker writes about a job that has passed to another one, or was taken back: it must let go of it."""


class InterruptedRunError(RinglightError):
    """The user stopped the run; its last checkpoint is whole.

    `signal` says how: a control's "pause" or "cancel", or "interrupted" by Ctrl-C or a request to end (SIGTERM).
    """

    exit_code: ClassVar[int] = 130

    def __init__(
        self, expected: str, *, got: str, where: str, fix: str,
        signal: Literal["pause", "cancel", "interrupted"] = "interrupted",
    ) -> None:  # fmt: skip
        super().__init__(expected, got=got, where=where, fix=fix)
        self.signal = signal

    def retold(
        self, expected: str | None = None, *, got: str | None = None, where: str | None = None, fix: str | None = None
    ) -> Self:
        """Return it as somebody tells it who knows more of the run; how it was stopped stays."""
        return type(self)(
            expected or self.expected, got=got or self.got, where=where or self.where, fix=fix or self.fix,
            signal=self.signal,
        )  # fmt: skip


class Problems(UserError):  # noqa: N818 - it is the collection, its members are the errors
    """Several mistakes at once, a line each.

    Examples:
        >>> print(Problems(["data.root: expected a folder, got nothing; set data.root=FOLDER", "x: y"]))
        data.root: expected a folder, got nothing; set data.root=FOLDER
        x: y
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        Exception.__init__(self, "\n".join(self.problems))


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that `word` most likely meant, or None when nothing is near."""
    options = list(choices)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if near:
        return near[0]
    lowered = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[near[0]] if near else None


def did_you_mean(word: str, choices: Iterable[str], limit: int = 12) -> str:
    """Say which choice `word` is close to, or list the choices.

    Examples:
        >>> did_you_mean("gama", ["alpha", "gamma"])
        'did you mean `gamma`?'
        >>> did_you_mean("x", ["alpha", "gamma"])
        'choose from: alpha, gamma'
    """
    options = sorted(choices)
    near = nearest(word, options)
    if near is not None:
        return f"did you mean `{near}`?"
    listed = ", ".join(options[:limit])
    return f"choose from: {listed}" + (f", ... ({len(options)} in all)" if len(options) > limit else "")


DATABASE_URL = "RINGLIGHT_DATABASE_URL"
"""The environment variable that names the store's database; it may hold a password, so that no file or option does."""

USER = re.compile(r"(\w[\w+.-]*://)((?!/)[^\s'\"]*)@")
SECRET_KEY = re.compile(r"(?i)((?:^|[?&;\s])(?:password|passwd|pwd|token|secret|api_?key|sslpassword)=)[^&;\s'\"]*")


def redacted(text: str) -> str:
    """Return a text without the secrets of the addresses in it, for error lines, logs and results.

    The password of the database is taken out wherever it stands, also by itself.

    Examples:
        >>> redacted("no answer from http://me:secret@host:5000/api")
        'no answer from http://***@host:5000/api'
        >>> redacted("postgresql://me@host/db?password=secret&sslmode=require")
        'postgresql://me@host/db?password=***&sslmode=require'
    """
    clean = SECRET_KEY.sub(r"\1***", USER.sub(_without_user, text))
    named = USER.search(os.environ.get(DATABASE_URL, ""))
    secret = named[2].partition(":")[2] if named is not None else ""
    for known in {secret, unquote(secret)} - {""}:  # as it is written, and as the driver reads it
        clean = clean.replace(known, "***")
    return clean


def _without_user(found: re.Match[str]) -> str:
    # A name alone is no secret, but what stands alone before a web server may be a token.
    return f"{found[1]}***@" if ":" in found[2] or found[1].lower().startswith("http") else found[0]
