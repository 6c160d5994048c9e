"""The checks of a running server: its vectors, and the habits that a caller has to know."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from exporter.manifest import Manifest
from exporter.packages.golden import Golden, GoldenText
from exporter.packages.golden_check import compare
from exporter.runtimes.encoder import Vectors
from exporter.runtimes.server import ServerEncoder, ServerError

Status = Literal["pass", "info", "warning", "fail"]
Result = tuple[Status, str]
Row = tuple[str, Status, str]
SAME = 0.99999  # one text alone and in a batch, or the same components cut by the server
CLEAN_REFUSALS = (400, 413, 422)  # the caller's text is at fault; a 5xx blames the server
REPEATED = 100
CLIENTS, STRIDE = 4, 3
SHOWN_FAILURES = 3
UNIT = 1e-3  # how far a length may be from 1 and still count as normalized
SPACED = "\u3000押金不退怎么办\n"


def verify_server(server: ServerEncoder, golden: Golden, artifact: Manifest) -> Iterator[Row]:
    """Yield (check, status, detail). Vectors that are not the package's end the checks."""
    at = [i for i, entry in enumerate(golden.texts) if len(entry.token_ids) < artifact.max_tokens]
    whole = [golden.texts[i] for i in at]
    try:
        found = server.raw([entry.text for entry in whole])
    except ServerError as error:
        yield "answers", "fail", str(error)
        return
    yield "answers", "pass", f"{len(found)} texts, {len(found[0])} dimensions"
    status, detail = _compared(found, golden, at)
    yield "vectors", status, detail
    if status == "fail":
        return
    yield "normalized", *_normalized(found)
    yield "batch", *_caught(lambda: _batch(server, whole, found))
    yield "equal lengths", *_caught(lambda: _equal_lengths(server, whole[0].text))
    yield "several clients", *_caught(lambda: _several_clients(server, whole, found))
    yield "empty text", *_caught(lambda: _empty(server, whole[0].text))
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


def _compared(found: list[Vectors], golden: Golden, at: list[int]) -> Result:
    dim = len(golden.texts[0].vector)
    if len(found[0]) != dim:
        return "fail", f"{len(found[0])} dimensions instead of {dim}: another model is served"
    seen = compare(golden, np.array(found, np.float64), at)
    if seen.failures:
        return "fail", "; ".join(seen.failures[:SHOWN_FAILURES])
    return "pass", (
        f"1 - cosine at most {seen.own.max():.1e} to the package's, "
        f"{seen.reference.max():.1e} to torch fp32's"
    )


def _normalized(found: list[Vectors]) -> Result:
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


def _equal_lengths(server: ServerEncoder, text: str) -> Result:
    """Some servers leave the mask out where all texts of a batch have one length
    (https://github.com/huggingface/text-embeddings-inference/issues/882)."""
    (alone,) = server.raw([text])
    worst = min(_cosine(alone, row) for row in server.raw([text] * REPEATED))
    if worst >= SAME:
        return "pass", f"the same text {REPEATED} times: cosine {worst:.7f} to it alone"
    return "fail", f"the same text {REPEATED} times in a batch: cosine {worst:.6f} to it alone"


def _several_clients(
    server: ServerEncoder, entries: list[GoldenText], found: list[Vectors]
) -> Result:
    """Ask as several clients at once, each with long and short texts in another order."""
    count = len(entries)
    orders = [
        [(start + step * STRIDE) % count for step in range(count)] for start in range(CLIENTS)
    ]
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda o: server.raw([entries[i].text for i in o]), orders))
    worst = min(
        _cosine(row, found[i])
        for order, rows in zip(orders, answers, strict=True)
        for i, row in zip(order, rows, strict=True)
    )
    if worst >= SAME:
        return "pass", f"{CLIENTS} at once, long and short texts: cosine {worst:.7f}"
    return "fail", (
        f"{CLIENTS} clients at once: cosine {worst:.6f} to the answer to one, wanted "
        f"{SAME}: answers are mixed up, or texts see each other"
    )


def _empty(server: ServerEncoder, text: str) -> Result:
    try:
        server.raw([""])
        alone = "gets a vector"
    except ServerError as error:
        alone = f"gets none ({error})"
    (right,) = server.raw([text])
    try:
        _, beside = server.raw(["", text])
    except ServerError as error:
        if error.status is None:
            raise
        return "info", f"an empty text alone {alone}; a batch with one is refused: leave them out"
    if _cosine(right, beside) < SAME:
        return "fail", "a text beside an empty one gets another vector: leave empty texts out"
    return "info", f"an empty text alone {alone}; it does not move the others of its batch"


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
    told = f"dimensions={dim} gives the first {dim} components"
    try:
        wide = server.raw([entry.text], dimensions=artifact.dim + 1)[0]
    except ServerError as error:
        if error.status is None:
            raise
        return "pass", f"{told}; more than there are is refused"
    return "pass", f"{told}; asked for {artifact.dim + 1}, it gives {len(wide)} without a word"


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
    if server.api == "ollama":
        try:
            server.raw([entry.text], truncate=False)
        except ServerError as error:
            return _refusal(server, error, golden.texts[0].text, limit=limit)
        return "warning", (
            f"a text of over {limit} tokens is cut even where truncate is false: cut it yourself"
        )
    try:
        found = server.raw([entry.text])[0]
    except ServerError as error:
        return _refusal(server, error, golden.texts[0].text, limit=limit)
    cosine = _cosine(found, entry.vector)
    if 1 - cosine <= entry.distance_max:
        return "pass", f"a text of over {limit} tokens is cut as the original cuts it"
    return "warning", (
        f"a text of over {limit} tokens gets another vector (cosine {cosine:.4f}): it is cut "
        "elsewhere, or loses its end token; cut it yourself"
    )
