"""Resing: a song in, the same song sung by another voice out.

A public name is loaded when it is first used, so `import resing` alone costs nothing and needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resing.config import ConvertOptions, SongOptions, TrainingConfig
    from resing.errors import ResingError
    from resing.scoring.compare import compare
    from resing.scoring.score import score
    from resing.song.arrange import convert
    from resing.training.clone import clone_voice
    from resing.training.create import create_voice
    from resing.voice import Voice

__version__ = "0.1.0"

__all__ = [
    "ConvertOptions",
    "ResingError",
    "SongOptions",
    "TrainingConfig",
    "Voice",
    "__version__",
    "clone_voice",
    "compare",
    "convert",
    "create_voice",
    "score",
]

_HOMES = {
    "ConvertOptions": "resing.config",
    "ResingError": "resing.errors",
    "TrainingConfig": "resing.config",
    "Voice": "resing.voice",
    "clone_voice": "resing.training.clone",
    "compare": "resing.scoring.compare",
    "SongOptions": "resing.config",
    "convert": "resing.song.arrange",
    "create_voice": "resing.training.create",
    "score": "resing.scoring.score",
}


def __getattr__(name: str) -> Any:
    """Return a public name, importing the module it lives in.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
