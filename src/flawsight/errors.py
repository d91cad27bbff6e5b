"""What can go wrong through no fault of the program. Each message says what to do."""


class FlawsightError(Exception):
    """Base of every error that a user can cause and mend."""


class SettingsError(FlawsightError):
    """A setting or an argument makes no sense."""


class ImageError(FlawsightError):
    """A path holds no readable image."""


class ModelError(FlawsightError):
    """A checkpoint or adapter cannot be loaded or computes nonsense."""


class AnswerError(FlawsightError):
    """The model's response holds no Yes or No."""


class RunFolderError(FlawsightError):
    """A run folder cannot be written or belongs to another run."""
