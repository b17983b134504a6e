"""Other systems' logs and benchmarks → :class:`training.dataset.Table`."""

from training.importers.files import KINDS, import_file

__all__ = ["KINDS", "import_file"]
