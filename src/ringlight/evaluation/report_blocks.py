"""What a report is made of: sections of sentences, facts, tables, pictures and cards, all of them plain values.

Nothing here knows HTML: :mod:`ringlight.evaluation.report_page` draws the blocks, and
:mod:`ringlight.evaluation.report_files` writes them as text and tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Tone = Literal["plain", "good", "warn", "bad"]
TONES: tuple[Tone, ...] = ("plain", "good", "warn", "bad")
"""From quiet to alarming; the loudest sentence of a verdict colours it."""

Style = Literal["number", "percent", "ppm"]

DASH = "\u2013"
"""What stands for a value that is not defined."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value with its interval, where it has one; `style` says how it is printed."""

    value: float | None
    low: float | None = None
    high: float | None = None
    style: Style = "number"

    @property
    def interval(self) -> str:
        """The interval as it is printed: empty without one."""
        if self.low is None or self.high is None:
            return ""
        return f"[{_figure(self.low, self.style)}, {_figure(self.high, self.style)}]"

    def __str__(self) -> str:
        value = DASH if self.value is None else _figure(self.value, self.style)
        return f"{value} {self.interval}".strip() + (" %" if self.style == "percent" and self.value is not None else "")


@dataclass(frozen=True, slots=True)
class Share:
    """A count and its share of a whole, for the cells of a confusion matrix; `right` marks the wanted ones."""

    count: int
    share: float | None
    right: bool = False

    def __str__(self) -> str:
        return f"{self.count}" if self.share is None else f"{self.count} ({self.share:.0%})"


@dataclass(frozen=True, slots=True)
class Mark:
    """A short judgement in a table: `refused`, `too few to judge`."""

    text: str
    tone: Tone = "plain"

    def __str__(self) -> str:
        return self.text


Value = str | int | float | None | Estimate | Share | Mark


@dataclass(frozen=True, slots=True)
class Sentence:
    """One statement, with the tone it is said in."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Facts:
    """Terms and what they are: fingerprints, settings of a model."""

    items: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of plain values; None prints as a dash. `footer` rows (totals) do not take part in sorting."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    footer: tuple[tuple[Value, ...], ...] = ()
    note: str = ""
    sortable: bool = True


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its name, in words for those who cannot see it, with its caption.

    `chart`: lines and bars on white, which a dark page may show inverted; never a photograph.
    """

    name: str
    alt: str
    caption: str
    chart: bool = True


@dataclass(frozen=True, slots=True)
class Card:
    """One mistake: its picture (None where there is none), title and facts."""

    title: str
    picture: Picture | None
    facts: tuple[tuple[str, str], ...]

    def having(self, names: frozenset[str]) -> Card:
        """Return the card, without its picture when that is not at hand."""
        return self if self.picture is None or self.picture.name in names else replace(self, picture=None)


@dataclass(frozen=True, slots=True)
class Gallery:
    """Cards side by side."""

    cards: tuple[Card, ...]


Block = Sentence | Facts | Table | Picture | Gallery


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a report; `folded` ones are long and open by a click (and on paper)."""

    key: str
    title: str
    blocks: tuple[Block, ...]
    folded: bool = False

    def tables(self) -> tuple[Table, ...]:
        """Return the tables of the section."""
        return tuple(block for block in self.blocks if isinstance(block, Table))

    def pictures(self) -> tuple[Picture, ...]:
        """Return the pictures of the section, those on cards included."""
        found: list[Picture] = []
        for block in self.blocks:
            if isinstance(block, Picture):
                found.append(block)
            elif isinstance(block, Gallery):
                found += [card.picture for card in block.cards if card.picture is not None]
        return tuple(found)

    def having(self, names: frozenset[str]) -> Section | None:
        """Return the section with those pictures alone that are at hand; None when only words about them would stay."""
        kept: list[Block] = []
        for block in self.blocks:
            if isinstance(block, Gallery):
                kept.append(Gallery(tuple(card.having(names) for card in block.cards)))
            elif not isinstance(block, Picture) or block.name in names:
                kept.append(block)
        if len(kept) < len(self.blocks) and all(isinstance(block, Sentence) for block in kept):
            return None
        return replace(self, blocks=tuple(kept))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        blocks = [{"kind": type(block).__name__.lower(), **asdict(block)} for block in self.blocks]
        return {"key": self.key, "title": self.title, "blocks": blocks}


def loudest(sentences: Sequence[Sentence]) -> Tone:
    """Return the most alarming tone among the sentences.

    Examples:
        >>> loudest([Sentence("all is well", "good"), Sentence("two classes have few parts", "warn")])
        'warn'
    """
    return max((sentence.tone for sentence in sentences), key=TONES.index, default="plain")


def estimate(
    values: Mapping[str, Any], intervals: Mapping[str, Any] | None, name: str, style: Style = "number"
) -> Estimate:
    """Return a value of a mapping with its interval `[low, high]` from another, None where either is missing.

    Examples:
        >>> str(estimate({"recall": 0.91}, {"recall": [0.83, 0.96]}, "recall"))
        '0.910 [0.830, 0.960]'
    """
    low, high = (intervals or {}).get(name) or (None, None)
    return Estimate(values.get(name), low, high, style)


def said(measured: Estimate) -> str:
    """Return an estimate as a sentence has it: two decimals, three where two would round to a bare 0 or 1.

    Examples:
        >>> said(Estimate(0.912, 0.83, 0.962)), said(Estimate(0.9962))
        ('0.91 [0.83, 0.96]', '0.996')
    """
    if measured.value is None:
        return "not defined"
    digits = 2 if 0.015 <= measured.value <= 0.985 or measured.value in (0.0, 1.0) else 3
    text = f"{measured.value:.{digits}f}"
    if measured.low is None or measured.high is None:
        return text
    return f"{text} [{measured.low:.{digits}f}, {measured.high:.{digits}f}]"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    Examples:
        >>> counted(1, "part"), counted(12568, "record"), counted(2, "class", "classes")
        ('1 part', '12,568 records', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str], limit: int = 6) -> str:
    """Return names as a sentence has them, the first `limit`.

    Examples:
        >>> listed(["pore", "scratch", "dent"]), listed(["a", "b", "c"], limit=2)
        ('pore, scratch and dent', 'a, b and 1 more')
    """
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def spoken(metric: str) -> str:
    """Return the name of a metric as people write it.

    Examples:
        >>> spoken("macro_f1"), spoken("auroc"), spoken("balanced_accuracy"), spoken("top_2")
        ('macro-F1', 'AUROC', 'balanced accuracy', 'top-2 accuracy')
    """
    if metric.startswith("top_"):
        return f"top-{metric[4:]} accuracy"
    if metric.endswith("_f1"):
        return f"{metric[:-3]}-F1"
    return _SPOKEN.get(metric, metric.replace("_", " "))


_SPOKEN = {
    "f1": "F1", "auroc": "AUROC", "ap": "average precision", "mcc": "Matthews correlation", "ece": "ECE (equal width)",
    "ece_mass": "ECE (equal mass)", "brier": "Brier score", "log_loss": "log-loss", "cohen_kappa": "Cohen's kappa",
    "weighted_kappa": "weighted kappa (quadratic)", "hamming_loss": "Hamming loss", "loss": "training loss",
}  # fmt: skip


def _figure(value: float, style: Style) -> str:
    if style == "percent":
        return f"{100 * value:.1f}"
    return f"{value:,.0f}" if style == "ppm" else f"{value:.3f}"
