"""Errors a user can cause or meet; their text says what was wanted, what was got and what to do."""


class RmvizError(Exception):
    """Root of all errors that rmviz raises on purpose."""


class ConfigError(RmvizError, ValueError):
    """A setting has an impossible value."""


class RunningError(ConfigError):
    """Another process is doing this job now."""


class DataError(RmvizError, ValueError):
    """Texts or preference pairs cannot be used."""


class ModelError(RmvizError, ValueError):
    """A model or an SAE cannot be loaded, or does not fit what it is used with."""


class NotFoundError(RmvizError, LookupError):
    """An id or a name does not exist in the workspace."""


class ArtifactError(RmvizError, OSError):
    """A file of the workspace is damaged, or cannot be written."""


class BackendError(RmvizError, ConnectionError):
    """The live backend does not answer, or refuses."""
