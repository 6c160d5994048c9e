"""Does an artifact read what the original reads? Token ids come before vectors.

An artifact with a vocabulary of its own names pieces by other ids, and spells with shorter pieces
what it does not have. The first is compared through its map; the second is no mistake, and is
judged by vectors and retrieval like any other loss.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter.checkpoint.vocabulary import read_map
from exporter.corpus.hard_texts import HARD_TEXTS
from exporter.errors import BadInput
from exporter.manifest import Manifest
from exporter.parity.compare import first_token_difference
from exporter.runtimes.encoder import Encoder, TokenIds

TOKENIZED_TEXTS = 4096
"""Texts whose ids are in memory at a time."""


@dataclass(frozen=True)
class TokenCheck:
    """`differ`: how many texts have other ids, or have other pieces although all of theirs are
    kept; `first`: a line on the first of them. `spelled`: which of the texts given have a piece
    that is not kept, (texts,); `lost`: how often each such piece occurs, of `pieces` in all."""

    differ: int
    first: str | None
    spelled: npt.NDArray[np.bool_]
    lost: Counter[str]
    pieces: int

    def refuse(self) -> None:
        """Raise BadInput where ids differ: other ids are other texts."""
        if self.differ:
            raise BadInput(
                f"token ids differ from the reference's in {self.differ:,} texts, so vectors were "
                f"not compared; the first: {self.first}"
            )


def check_tokens(
    folder: Path, manifest: Manifest, encoder: Encoder, texts: Sequence[str], tokens: TokenIds
) -> TokenCheck:
    """Compare the ids that the artifact in `folder`, opened as `encoder`, reads with the
    original's.

    `HARD_TEXTS` are compared behind the texts given. Raises BadInput for a broken map.
    """
    to = None
    if manifest.vocabulary is not None:
        to = {old: new for new, old in enumerate(read_map(folder).kept)}
    differ, first, pieces = 0, None, 0
    spelled = np.zeros(len(texts) + len(HARD_TEXTS), bool)
    lost: Counter[int] = Counter()
    texts = (*texts, *HARD_TEXTS)
    for start in range(0, len(texts), TOKENIZED_TEXTS):
        part = texts[start : start + TOKENIZED_TEXTS]
        ours, theirs = encoder.token_ids(part), tokens(part)
        if to is not None:
            for at, row in enumerate(theirs):
                gone = [i for i in row if i not in to]
                if start + at < len(texts) - len(HARD_TEXTS):
                    lost.update(gone)
                    pieces += len(row)
                mapped = [to.get(i, -1) for i in row]
                # Beyond a cut, too, what is spelled otherwise may reach back by a piece.
                if gone or (
                    mapped != ours[at] and any(i not in to for i in tokens.whole(part[at]))
                ):
                    spelled[start + at] = True
                    mapped = ours[at]
                theirs[at] = mapped
        found, line = first_token_difference(ours, theirs, part)
        differ += found
        first = first or line
    named = Counter({tokens.piece(i): times for i, times in lost.items()})
    return TokenCheck(differ, first, spelled[: -len(HARD_TEXTS)], named, pieces)
