"""Ringlight: label -> split -> train -> judge -> activate -> watch.

`import ringlight as rl` is cheap: the engine behind :func:`train` and :func:`load` is imported when it is called.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("ringlight")

if TYPE_CHECKING:
    from ringlight.api import activate as activate
    from ringlight.api import compare_results as compare_results
    from ringlight.api import cross_validate as cross_validate
    from ringlight.api import evaluate as evaluate
    from ringlight.api import export as export
    from ringlight.api import history as history
    from ringlight.api import load as load
    from ringlight.api import load_model as load_model
    from ringlight.api import load_results as load_results
    from ringlight.api import register as register
    from ringlight.api import reproduce as reproduce
    from ringlight.api import train as train

_API = (
    "activate", "compare_results", "cross_validate", "evaluate", "export", "history", "load", "load_model",
    "load_results", "register", "reproduce", "train",
)  # fmt: skip
__all__ = [*_API, "__version__"]


def __getattr__(name: str) -> Any:
    # PEP 562: `ringlight --help` and `import ringlight` must not pay for torch and lightning.
    if name in _API:
        from ringlight import api

        return getattr(api, name)
    raise AttributeError(f"module 'ringlight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])
