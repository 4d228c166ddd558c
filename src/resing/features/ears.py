"""Which models hear for a voice: content encoder and pitch tracker, by the names in its settings."""

from resing import hub
from resing.config import FeaturesConfig
from resing.errors import DownloadError
from resing.features import content, f0, hubert, rmvpe
from resing.features.content import ContentEncoder
from resing.features.f0 import Tracker


def encoder(config: FeaturesConfig, device: str = "cpu") -> ContentEncoder:
    """The content encoder that the settings name.

    Args:
        config: names it.
        device: where one of the community's computes; the one that ships stays on the processor.

    Raises:
        DownloadError: it is not here; says how to get it.
    """
    kind = config.content_encoder
    return hubert.load(kind, device) if kind in hubert.MODELS else content.embedded()


def tracker(config: FeaturesConfig, device: str = "cpu") -> Tracker:
    """The pitch tracker that the settings name.

    Raises:
        DownloadError: it is not here; says how to get it.
    """
    return rmvpe.load(device) if config.f0_tracker == rmvpe.NAME else f0.SWIFT


def needed(config: FeaturesConfig) -> list[str]:
    """The models of the community's catalogue that the settings ask for."""
    models = [hubert.MODELS[config.content_encoder]] if config.content_encoder in hubert.MODELS else []
    return models + [rmvpe.NAME] * (config.f0_tracker == rmvpe.NAME)


def require(config: FeaturesConfig, who: str) -> None:
    """Refuse where a model is not here, naming all that are missing and the commands that bring them.

    Args:
        config: names the models.
        who: needs them.

    Raises:
        DownloadError: at least one is missing.
    """
    missing = [name for name in needed(config) if not hub.look(name).here]
    if missing:
        commands = " && ".join(hub.command(name) for name in missing)
        raise DownloadError(f"{who} needs {' and '.join(missing)}, not here; get it: {commands}")
