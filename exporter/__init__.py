"""Read a fine-tuned embedding checkpoint, export it, prove the exports, package them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.api import export, judge, package, read_checkpoint

__version__ = "0.1.0"
__all__ = ["__version__", "export", "judge", "package", "read_checkpoint"]


def __getattr__(name: str) -> Any:
    # Looked up when asked for: the command line begins without loading what all of it needs.
    if name in __all__:
        return getattr(import_module("exporter.api"), name)
    raise AttributeError(f"module 'exporter' has no attribute '{name}'")
