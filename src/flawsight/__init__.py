"""Whether, where and why a part is defective, from one multimodal LLM.

Importing the package is quick: torch and transformers load when a name below is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calibration import Calibration
    from .errors import FlawsightError
    from .inspection import Inspection, Inspections
    from .inspector import Inspector
    from .reference.memory import Reference
    from .settings import PRESETS, Settings

__version__ = "0.1.0"
__all__ = [
    "PRESETS", "Calibration", "FlawsightError", "Inspection", "Inspections", "Inspector",
    "Reference", "Settings", "__version__",
]  # fmt: skip

_HOMES = {
    "Calibration": "calibration",
    "FlawsightError": "errors",
    "Inspection": "inspection",
    "Inspections": "inspection",
    "Inspector": "inspector",
    "PRESETS": "settings",
    "Reference": "reference.memory",
    "Settings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
