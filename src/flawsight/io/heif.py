"""The formats of phones: HEIF by Pillow's plug-in pillow-heif, AVIF also by Pillow itself."""

from PIL import Image

HEIF_SUFFIXES = {".avif", ".heic", ".heif", ".hif"}


def readable_heif_suffixes() -> set[str]:
    """Register the plug-in if it is installed, and return which of `HEIF_SUFFIXES` can be read."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    return HEIF_SUFFIXES & Image.registered_extensions().keys()
