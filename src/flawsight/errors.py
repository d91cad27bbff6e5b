"""What can go wrong through no fault of the program. Each message says what to do."""


class FlawsightError(Exception):
    """Base of every error that a user can cause and mend."""


class SettingsError(FlawsightError):
    """A setting or an argument makes no sense."""


class ImageError(FlawsightError):
    """A path holds no readable image."""


class ModelError(FlawsightError):
    """A checkpoint or adapter cannot be loaded or computes nonsense."""


class HubError(FlawsightError):
    """A repository of the Hugging Face hub cannot be read or written."""


class AnswerError(FlawsightError):
    """The model's response holds no Yes or No."""


class RunFolderError(FlawsightError):
    """A run folder cannot be written or belongs to another run."""


class ArrayDeletedError(RunFolderError):
    """A row names a map whose file has been deleted, as one may to save space."""


class DatasetError(FlawsightError):
    """A data set is not laid out as it should be, or its files do not fit together."""


class DetectorError(FlawsightError):
    """A detector cannot be used: a key is missing, a server refuses, a budget is spent."""


class CalibrationError(FlawsightError):
    """A threshold cannot be computed, or belongs to another model or other settings."""


class LearnError(FlawsightError):
    """Good photos, or the reference made of them, cannot be used."""


class ExportError(FlawsightError):
    """A run folder, or an image of it, lacks what a format needs, or the export has no place."""


class MissingExtraError(FlawsightError):
    """A part of flawsight needs a package that its core does not install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"This needs {package}: pip install 'flawsight[{extra}]'.")


class BusyError(FlawsightError):
    """The service can take no more for now."""


class WatchError(FlawsightError):
    """A folder cannot be watched as asked, or a result not be delivered."""


class StoreError(FlawsightError):
    """The store of inspections cannot be opened, read or written."""


class ServeError(FlawsightError):
    """The service cannot be started as asked."""
