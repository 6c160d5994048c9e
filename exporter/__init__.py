"""Read a fine-tuned embedding checkpoint, export it, prove the exports, package them."""

__version__ = "0.1.0"
