"""The exception tree: everything a user can put right is a ResingError."""


class ResingError(Exception):
    """A failure the user can repair; the message says what, got, expected, and what to do.

    Attributes:
        code: short machine-readable name, stable across releases.
        http_status: the status a web face answers with.
        exit_code: the status the command line exits with.
    """

    code = "error"
    http_status = 400
    exit_code = 2


class AudioError(ResingError):
    """An audio file cannot be read, written or used."""

    code = "audio"


class ConfigError(ResingError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    code = "config"


class DatasetError(ResingError):
    """Recordings or a prepared dataset are missing, too short or do not fit the settings."""

    code = "dataset"


class VoiceError(ResingError):
    """A voice is unknown, damaged, or needs parts that are not here."""

    code = "voice"


class DownloadError(ResingError):
    """A model could not be fetched or is not what its hash says."""

    code = "download"
    http_status = 502
