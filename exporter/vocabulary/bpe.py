"""A BPE tokenizer as tokenizer.json holds it, as far as its pieces go.

Which pieces does BPE pass on its way to another? Merges inside a piece's span do not depend on what
stands around it: none crosses the span's ends, or the piece would not be there, and the order of
ranks is one order for all. So the way is that of the piece alone, and a text whose pieces are all
kept with their ways has the same pieces in the cut tokenizer: every merge that it needs is there,
and none that came before it was added.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from exporter.checkpoint.json_file import read_object
from exporter.errors import BadInput

BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
"""What a character that is no piece becomes."""
PLACEHOLDER = "<unused"
"""How Gemma names the rows that it reserved and never trained."""
INSTEAD = "export without --vocabulary"


@dataclass(frozen=True)
class Bpe:
    """`ids` of the model's pieces, `ranks` of its merges, both as saved; `added`: ids of tokens
    that are looked for before anything is merged. `data`: the whole file."""

    ids: Mapping[str, int]
    ranks: Mapping[tuple[str, str], int]
    added: Mapping[str, int]
    data: Mapping[str, Any]

    def way(self, piece: str) -> set[str] | None:
        """Return all pieces that BPE passes on its way to `piece`, itself included; None where it
        never arrives there."""
        symbols, passed = list(piece), set(piece)
        while len(symbols) > 1:
            ranked = [
                (rank, at)
                for at, pair in enumerate(pairwise(symbols))
                if (rank := self.ranks.get(pair)) is not None
            ]
            if not ranked:
                return None
            _, at = min(ranked)
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
            passed.add(symbols[at])
        return passed if passed <= self.ids.keys() else None

    def closed(self, pieces: Iterable[str]) -> set[str]:
        """Return those of `pieces` that BPE can reach, and the pieces on their ways."""
        found: set[str] = set()
        for piece in pieces:
            if piece not in found:
                found |= self.way(piece) or set()
        return found

    def always(self) -> set[str]:
        """Return what is kept whatever the texts: bytes, and added tokens but for placeholders."""
        return {*BYTES, *(token for token in self.added if not token.startswith(PLACEHOLDER))}


def read_bpe(folder: Path) -> Bpe:
    """Read tokenizer.json of a checkpoint. Raises BadInput for one that cannot be cut: no BPE, or
    BPE without bytes to fall back to."""
    path = folder / "tokenizer.json"
    data = read_object(path)
    model = data.get("model") or {}
    if model.get("type") != "BPE":
        raise BadInput(
            f"'{path}' is a {model.get('type')} model; only the pieces of BPE can be cut so that "
            f"texts keep theirs; {INSTEAD}"
        )
    ids: Mapping[str, int] = model["vocab"]
    if '"ByteLevel"' in json.dumps(data.get("pre_tokenizer")):
        raise BadInput(
            f"'{path}' merges bytes instead of characters; such a vocabulary cannot be cut here; "
            f"{INSTEAD}"
        )
    if not model.get("byte_fallback") or not ids.keys() >= set(BYTES):
        raise BadInput(
            f"'{path}' does not fall back to bytes: what is cut would be no text at all; {INSTEAD}"
        )
    for key in ("ignore_merges", "dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise BadInput(f"'{path}' has {key}, which changes how pieces are found; {INSTEAD}")
    merges = [
        tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge)
        for merge in model["merges"]
    ]
    ranks: dict[tuple[str, str], int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault((left, right), rank)
    added = {token["content"]: token["id"] for token in data.get("added_tokens") or ()}
    return Bpe(ids, ranks, added, data)
