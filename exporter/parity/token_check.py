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
from exporter.parity.results import LostPiece
from exporter.runtimes.encoder import Encoder, TokenIds

NAMED = 10
"""Pieces and texts that a report names."""
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
    cut = (
        None
        if manifest.vocabulary is None
        else _Cut(read_map(folder).kept, tokens, limit=manifest.max_tokens)
    )
    differ, first, pieces = 0, None, 0
    spelled = np.zeros(len(texts), bool)
    lost: Counter[int] = Counter()
    compared = (*texts, *HARD_TEXTS)
    for start in range(0, len(compared), TOKENIZED_TEXTS):
        part = compared[start : start + TOKENIZED_TEXTS]
        ours, theirs = encoder.token_ids(part), tokens(part)
        if cut is not None:
            for at, row in enumerate(theirs):
                theirs[at], is_spelled = cut.expected(part[at], row, ours[at])
                if start + at < len(texts):
                    spelled[start + at] = is_spelled
                    lost.update(i for i in row if i not in cut.to)
                    pieces += len(row)
        found, line = first_token_difference(ours, theirs, part)
        differ += found
        first = first or line
    named = Counter({tokens.piece(i): times for i, times in lost.items()})
    return TokenCheck(differ, first, spelled, named, pieces)


def lost_pieces(check: TokenCheck) -> tuple[LostPiece, ...]:
    """Return the pieces that are lost most, at most ten."""
    return tuple(
        LostPiece(piece=piece, times=times) for piece, times in check.lost.most_common(NAMED)
    )


class _Cut:
    """Ids of the original, as an artifact that keeps the ids `kept` should name them."""

    def __init__(self, kept: Sequence[int], tokens: TokenIds, *, limit: int) -> None:
        self._kept, self._tokens, self._limit = kept, tokens, limit
        self.to = {old: new for new, old in enumerate(kept)}

    def expected(
        self, text: str, theirs: Sequence[int], ours: Sequence[int]
    ) -> tuple[list[int], bool]:
        """Return the ids that the artifact should read, and whether the text has a piece that is
        not kept: the original's through the map; for such a text its own, if they spell the same
        text."""
        mapped = [self.to.get(i, -1) for i in theirs]
        # Beyond the model's limit, too, what is spelled otherwise may reach back by a piece.
        is_spelled = -1 in mapped or (
            mapped != list(ours) and any(i not in self.to for i in self._tokens.whole(text))
        )
        if not is_spelled:
            return mapped, False
        back = [self._kept[i] for i in ours]
        same = self._tokens.spelled(back) == self._tokens.spelled(theirs)
        # Where the model's limit cuts, the two end at different places.
        reached = len(ours) >= self._limit or self._tokens.is_cut(text)
        return (list(ours) if same or reached else mapped), True
