"""The checks of a running server: its vectors, and the habits that a caller has to know."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np

from exporter.manifest import Manifest
from exporter.package.golden import Golden, GoldenText
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.server import ServerEncoder, ServerError

Status = Literal["pass", "info", "warning", "fail"]
Result = tuple[Status, str]
Row = tuple[str, Status, str]
SAME = 0.99999  # one text alone and in a batch, or the same components cut by the server
CLEAN_REFUSALS = (400, 413, 422)  # the caller's text is at fault; a 5xx blames the server
UNIT = 1e-3  # how far a length may be from 1 and still count as normalized
SPACED = "\u3000押金不退怎么办\n"


def verify_server(server: ServerEncoder, golden: Golden, artifact: Manifest) -> Iterator[Row]:
    """Yield (check, status, detail). Vectors that are not the package's end the checks."""
    whole = [entry for entry in golden.texts if len(entry.token_ids) < artifact.max_tokens]
    try:
        found = server.raw([entry.text for entry in whole])
    except ServerError as error:
        yield "answers", "fail", str(error)
        return
    yield "answers", "pass", f"{len(found)} texts, {len(found[0])} dimensions"
    status, detail = _compare(found, whole, golden)
    yield "vectors", status, detail
    if status == "fail":
        return
    for name, check in (("normalized", _normalized), ("batch", _batch)):
        yield name, *_caught(partial(check, server, whole, found))
    yield "dimensions", *_caught(lambda: _dimensions(server, whole[0], found[0], artifact))
    yield "prompts", *_caught(lambda: _prompts(server, golden))
    yield "white space", *_caught(lambda: _white_space(server))
    cut = [entry for entry in golden.texts if len(entry.token_ids) >= artifact.max_tokens]
    if cut:
        yield "over-long", *_over_long(server, cut[0], golden, limit=artifact.max_tokens)


def _caught(check: Callable[[], Result]) -> Result:
    try:
        return check()
    except ServerError as error:
        return "fail", str(error)


def _cosine(a: Vectors, b: Vectors | tuple[float, ...]) -> float:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(x @ y / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-30))


def _compare(found: list[Vectors], entries: list[GoldenText], golden: Golden) -> Result:
    dim = len(entries[0].vector)
    if len(found[0]) != dim:
        return "fail", f"{len(found[0])} dimensions instead of {dim}: another model is served"
    own = [_cosine(v, e.vector) for v, e in zip(found, entries, strict=True)]
    true = [_cosine(v, e.reference) for v, e in zip(found, entries, strict=True)]
    worst = int(np.argmin(own))
    shown = entries[worst].text[:30]
    if not own[worst] >= golden.cosine_to_own_min:
        why = _why(own, entries, golden)
        return "fail", (f"cosine {own[worst]:.6f} to the package's vector of {shown!r}, wanted "
                        f"{golden.cosine_to_own_min}: {why}")  # fmt: skip
    if not min(true) >= golden.cosine_to_reference_min:
        return "fail", (f"cosine {min(true):.6f} to the original, wanted "
                        f"{golden.cosine_to_reference_min}")  # fmt: skip
    return "pass", f"cosine at least {min(own):.6f} to the package's, {min(true):.6f} to torch fp32"


def _why(own: list[float], entries: list[GoldenText], golden: Golden) -> str:
    """Guess from which texts differ, and by how much, what the server does otherwise."""
    wrong = [e for e, c in zip(entries, own, strict=True) if not c >= golden.cosine_to_own_min]
    broken = [e for e in entries if "\n" in e.text]
    if broken and len(broken) < len(entries) and wrong == broken:
        return "only texts with newlines differ, so they are replaced on the way"
    if np.median(own) < 0.9:
        return "another model, or pooling or Dense lost"
    return "another file, a prompt of the server's own, or lost BOS or EOS"


def _normalized(server: ServerEncoder, entries: list[GoldenText], found: list[Vectors]) -> Result:
    del server, entries
    lengths = [float(np.linalg.norm(v)) for v in found]
    if max(abs(length - 1) for length in lengths) <= UNIT:
        return "pass", "vectors have length 1"
    return "warning", (
        f"vectors have lengths {min(lengths):.3g} to {max(lengths):.3g}: scale them to 1 where "
        "scores are read or vectors stored; the order by L2 or dot product against stored rows of "
        "length 1 does not change"
    )


def _batch(server: ServerEncoder, entries: list[GoldenText], found: list[Vectors]) -> Result:
    alone = [server.raw([entry.text])[0] for entry in entries[:3]]
    worst = min(_cosine(a, b) for a, b in zip(alone, found, strict=False))
    if worst >= SAME:
        return "pass", f"alone and in company: cosine {worst:.7f}"
    return "fail", f"a text alone and in a batch: cosine {worst:.6f}, wanted {SAME}"


def _dimensions(
    server: ServerEncoder, entry: GoldenText, full: Vectors, artifact: Manifest
) -> Result:
    smaller = [dim for dim in artifact.matryoshka_dims if dim < artifact.dim]
    if not smaller:
        return "info", "the model has one dim"
    dim = smaller[0]
    try:
        found = server.raw([entry.text], dimensions=dim)[0]
    except ServerError as error:
        if error.status is None:
            raise
        return "info", f"dimensions={dim} is refused: cut and scale vectors yourself ({error})"
    if len(found) == len(full):
        return "info", f"dimensions={dim} is ignored: cut and scale vectors yourself"
    if len(found) != dim or _cosine(found, full[:dim]) < SAME:
        return "fail", f"dimensions={dim} gives {len(found)} that are not the first of the whole"
    return "pass", f"dimensions={dim} gives the first {dim} components"


def _prompts(server: ServerEncoder, golden: Golden) -> Result:
    text = "押金不退怎么办"
    bare, prompted = server.raw([text, "task: search result | query: " + text])
    if _cosine(bare, prompted) > SAME:
        return "fail", "a prompt in front of a text changes nothing: the server drops it"
    if golden.query_prompt.strip() == "{text}":
        return "pass", "none is added; questions go as they are"
    return "pass", f"none is added; write questions as {golden.query_prompt!r}"


def _white_space(server: ServerEncoder) -> Result:
    spaced, bare = server.raw([SPACED, SPACED.strip()])
    if _cosine(spaced, bare) > SAME:
        return "info", "the server strips white space at both ends"
    return "info", "white space at both ends is encoded: strip it on both sides of an index"


def _refusal(server: ServerEncoder, error: ServerError, short: str, *, limit: int) -> Result:
    """Judge what came instead of a vector: a clean 400, another status, or a dead server."""
    if error.status is None:
        return "fail", f"a text of over {limit} tokens gets no answer: {error}"
    try:
        server.raw([short])
    except ServerError as after:
        return "fail", f"after a text of over {limit} tokens the server is down: {after}"
    refused = f"a text of over {limit} tokens is refused: cut it yourself ({error})"
    if error.status in CLEAN_REFUSALS:
        return "info", refused
    return "warning", f"{refused}; clients take a {error.status} for a passing fault and try again"


def _over_long(server: ServerEncoder, entry: GoldenText, golden: Golden, *, limit: int) -> Result:
    try:
        found = server.raw([entry.text])[0]
    except ServerError as error:
        return _refusal(server, error, golden.texts[0].text, limit=limit)
    cosine = _cosine(found, entry.vector)
    if cosine >= golden.cosine_to_own_min:
        return "pass", f"a text of over {limit} tokens is cut as the original cuts it"
    return "warning", (
        f"a text of over {limit} tokens gets another vector (cosine {cosine:.4f}): it is cut "
        "elsewhere, or loses its end token; cut it yourself"
    )
