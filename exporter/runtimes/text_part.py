"""The text part of a model of several kinds of input, as sentence-transformers loads it alone.

Loaded whole, such a model asks for what prepares images and sound before it takes a text; no text
passes that (a test compares the two).
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.json_file import read_object

CONFIG, LIMITS = "config.json", "sentence_bert_config.json"
OTHERS = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
PREFIX = r"^(?:model\.)?language_model\."
"""Of the text part's tensors within the whole model's."""


@contextlib.contextmanager
def text_part(checkpoint: Checkpoint, folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield a folder to load, and options for transformers' `from_pretrained`: `folder` itself
    without any, or links to its files beside the config of its text part. A checkpoint of no known
    family is loaded as it is: what its text part computes alone is not known either."""
    text = read_object(folder / CONFIG).get("text_config")
    if checkpoint.architecture is None or not isinstance(text, dict):
        yield folder, {}
        return
    limits = read_object(folder / LIMITS) if (folder / LIMITS).is_file() else {}
    with tempfile.TemporaryDirectory(prefix="lawvault-text-") as made:
        links = Path(made)
        for file in folder.iterdir():
            if file.name not in (CONFIG, LIMITS, *OTHERS):
                (links / file.name).symlink_to(file.resolve())
        (links / CONFIG).write_text(json.dumps(text), "utf-8")
        # Only the limit: the rest says how images and sound are given.
        kept = {key: limits[key] for key in ("max_seq_length",) if key in limits}
        (links / LIMITS).write_text(json.dumps(kept), "utf-8")
        yield links, {"key_mapping": {PREFIX: ""}}
