"""Does an application's embed function still give vectors of the space its index lies in?

    from guard import check

    found = check("space.json", embed)  # embed("a question") -> a list of numbers
    if not found["ok"]:
        raise SystemExit(found["said"])

Two short texts are embedded; `long=True` adds a long one, which shows where a server cuts. The
verdict is "same space", "same model, other prompt", "another space" or "truncating at N".
`role="document"` asks the function that embeds documents: embed(text, title). `differences` holds
two space.json against each other, nothing embedded. Standard library only; guard.mjs and guard.go
do the same.
"""

import json
import math

HALF_WAY = 0.5  # from the right vectors to those of another prompt; beyond it that is the nearer
NEAR = 0.05  # 1 - cosine that rounding to 4 bits stays within, and another model does not


def check(space, embed, role="query", long=False):
    """Return {"ok", "verdict", "said", "distance", "tolerance"} for an application's own `embed`.

    space: a space.json, its path or its content. embed: gets a text without a prompt (for documents
    its title too) and returns one vector of any length, all of it or cut to one of `dims`.
    "distance" is the largest 1 - cosine of the short texts, "tolerance" what is right for that one.
    Errors of `embed` are the caller's. Raises ValueError for a space without probes.
    """
    space = load(space)
    probes = space.get("probes")
    if not probes:
        raise ValueError("this space holds no probes: take that of a package or of a table")
    widths = [space["dim"]] + list(space["dims"])
    rows = []
    for probe in probes[role]:
        row = _ask(embed, role, probe)
        wrong = _unusable(row, widths)
        if wrong:
            return _found("another space", wrong, None, probe)
        rows.append(row)
    right = [probe["vector"] for probe in probes[role]]
    far = [_distance(row, vector) for row, vector in zip(rows, right)]
    worst = max(range(len(far)), key=lambda i: far[i] / probes[role][i]["tolerance"])
    of = (far[worst], probes[role][worst])
    prompt = _other_prompt(probes[role], rows, probes["width"])
    if prompt is not None:
        own = space["prompts"][role]
        said = "texts are embedded with the prompt %s or one like it, the index asks for %s"
        return _found("same model, other prompt", said % (_quoted(prompt), _quoted(own)), *of)
    if far[worst] > of[1]["tolerance"]:
        near = max(far) < NEAR
        said = (
            "another file of this model, or texts changed on their way" if near else "another model"
        )
        said += ": %.1e away (1 - cosine), at most %.1e is right"
        return _found("another space", said % (far[worst], of[1]["tolerance"]), *of)
    if long and probes.get("long_" + role):
        cut = _truncated(probes["long_" + role], embed, role, widths, probes["width"])
        if cut is not None:
            return _found(cut[0], cut[1], *of)
    said = "vectors of %s, as %s gives them" % (space["model_name"], space["artifact"])
    return _found("same space", said, *of)


def differences(one, other):
    """Return a line for each thing in which two spaces differ, none where both can be searched."""
    one, other = load(one), load(other)
    lines = []
    for key, what in (
        ("model_sha256", "model"),
        ("pipeline", "modules"),
        ("prompts", "prompts"),
        ("sliding_window", "sliding window"),
        ("max_tokens", "limit in tokens"),
        ("normalized", "normalization"),
    ):
        if one[key] != other[key]:
            shown = "model_name" if key == "model_sha256" else key
            values = (_quoted(one[shown]), _quoted(other[shown]))
            lines.append("another %s: %s and %s" % ((what,) + values))
    if not set([one["dim"]] + list(one["dims"])) & set([other["dim"]] + list(other["dims"])):
        lines.append("no width in common: %d and %d components" % (one["dim"], other["dim"]))
    return lines


def load(space):
    """Return the content of a space.json."""
    if isinstance(space, dict):
        return space
    with open(space, encoding="utf-8") as handle:
        return json.load(handle)


def _ask(embed, role, probe):
    given = embed(probe["text"]) if role == "query" else embed(probe["text"], probe["title"])
    return [float(value) for value in given]


def _unusable(row, widths):
    if len(row) not in widths:
        return "vectors of %d components, this space has %d" % (len(row), widths[0])
    length = math.sqrt(sum(value * value for value in row))
    if not 0 < length < math.inf:
        return "a vector that is zero or holds no numbers"
    return None


def _other_prompt(probes, rows, width):
    """Return the prompt whose vectors these are, rather than the right ones."""
    best, said = HALF_WAY, None
    for j, other in enumerate(probes[0]["others"]):
        along = total = moved = left = 0.0
        for probe, row in zip(probes, rows):
            size = min(width, len(row))
            right, given = _unit(probe["vector"][:size]), _unit(row[:size])
            wrong = _unit(probe["others"][j]["vector"][:size])
            for r, g, w in zip(right, given, wrong):
                along += (g - r) * (w - r)
                total += (w - r) ** 2
                moved += (g - r) ** 2
                left += (g - w) ** 2
        if along > HALF_WAY * total and left < best * moved:
            best, said = left / moved, other["prompt"]
    return said


def _truncated(probe, embed, role, widths, width):
    """Return verdict and words where the long text is not embedded as it should be."""
    row = _ask(embed, role, probe)
    wrong = _unusable(row, widths)
    if wrong:
        return "another space", wrong
    far = _distance(row, probe["vector"])
    size = min(width, len(row))
    given = _unit(row[:size])
    whole = _distance(given, _unit(probe["vector"][:size]))
    cuts = [(_distance(given, _unit(cut["vector"][:size])), cut["tokens"]) for cut in probe["cuts"]]
    nearest, tokens = min(cuts)
    if nearest < HALF_WAY * whole or (far > probe["tolerance"] and nearest < whole):
        said = "texts are cut at %d tokens, or near it; this one has %d"
        return "truncating at %d" % tokens, said % (tokens, probe["tokens"])
    if far > probe["tolerance"]:
        said = "short texts agree, a long one is %.1e away (1 - cosine), at most %.1e is right: "
        said += "another sliding window, or cut elsewhere"
        return "another space", said % (far, probe["tolerance"])
    return None


def _found(verdict, said, distance, probe):
    return {
        "ok": verdict == "same space",
        "verdict": verdict,
        "said": said,
        "distance": distance,
        "tolerance": probe["tolerance"],
    }


def _distance(row, vector):
    """Return 1 - cosine over the components that both have."""
    a, b = _unit(row), _unit(vector[: len(row)])
    return 1 - sum(x * y for x, y in zip(a, b))


def _unit(row):
    length = math.sqrt(sum(value * value for value in row))
    return [value / length for value in row]


def _quoted(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
