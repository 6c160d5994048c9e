#!/usr/bin/env python3
"""Prove that a server gives the vectors that this package was judged by.

    python verify.py [--url http://localhost:11434] [--model NAME] [--api ollama|openai]

Needs Python 3.8 or newer and nothing else. Exit code 0: the same vectors; 1: not; 2: wrong usage.
"""

import argparse
import hashlib
import http.client
import json
import math
import os
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser(description="Compare a server with this package's vectors.")
    parser.add_argument("--url", default="http://localhost:11434")
    parser.add_argument("--model", default=load("manifest.json")["model_tag"])
    parser.add_argument("--api", choices=["ollama", "openai"], default="ollama")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds")
    parser.add_argument("--skip-files", action="store_true", help="do not hash the files")
    options = parser.parse_args()
    problems = [] if options.skip_files else changed_files()
    if problems:
        return fail("; ".join(problems))
    golden = load("golden.json")
    texts = golden["texts"]
    limit = max(len(entry["token_ids"]) for entry in texts)
    vectors = {}
    for place, entry in enumerate(texts):
        try:
            vector = embed(options, entry["text"])
        except ServerError as error:
            if golden["cut"] and len(entry["token_ids"]) == limit and error.refused:
                print("note: texts of over %d tokens are refused here; cut them yourself" % limit)
                continue
            return fail(str(error))
        if len(vector) != len(entry["vector"]):
            return fail(
                "%d dimensions instead of %d: another model is served"
                % (len(vector), len(entry["vector"]))
            )
        length = norm(vector)
        if not 0 < length < math.inf:  # NaN too
            return fail("the vector of %r is zero or not finite" % entry["text"][:30])
        if abs(length - 1) > 1e-3 and place == 0:
            print("note: vectors have length %.3g; scale them to 1 before they are stored" % length)
        vectors[place] = [v / length for v in vector]
    return judge(golden, vectors)


def judge(golden, vectors):
    """Say whether each vector is within its text's limit, and which mistake it shows."""
    wrong, worst = [], 0.0
    for place, vector in vectors.items():
        entry = golden["texts"][place]
        away = max(distance(vector, entry["vector"]), distance(vector, entry["reference"]))
        worst = max(worst, distance(vector, entry["vector"]))
        if not away <= entry["distance_max"]:
            wrong.append(
                "%r is %.1e from its vectors (1 - cosine), at most %.1e is right"
                % (entry["text"][:30], away, entry["distance_max"])
            )
    mistake = nearest_mistake(golden, vectors)
    if mistake is not None or wrong:
        said = "another model or file is served, or texts are changed on their way"
        if mistake is not None:
            said = "these are the vectors of " + mistake
        return fail("; ".join([said, *wrong[:2]]))
    print("ok: %d texts, 1 - cosine at most %.1e to the package's vectors" % (len(vectors), worst))
    return 0


def nearest_mistake(golden, vectors):
    """Return what the vectors are if they lie nearer to a mistake's than to the right ones."""
    found = []
    for mistake in golden["mistakes"]:
        along = shifted = left = moved = 0.0
        for place, row in zip(mistake["at"], mistake["vectors"]):
            if place not in vectors:
                continue
            right, size = golden["texts"][place]["vector"], norm(row)
            for v, r, m in zip(vectors[place], right, row):
                step, shift = v - r, m / size - r
                along += step * shift
                shifted += shift * shift
                left += (step - shift) ** 2
                moved += step * step
        if along > shifted / 2 > 0:
            found.append((left / moved, mistake["said"]))
    left, said = min(found, default=(1.0, None))
    return said if left < 0.5 else None


class ServerError(Exception):
    """What a server said instead of a vector."""

    def __init__(self, message, refused=False):
        super().__init__(message)
        self.refused = refused


def embed(options, text):
    """Return one vector as the server gives it."""
    path = "/api/embed" if options.api == "ollama" else "/v1/embeddings"
    url = options.url.rstrip("/") + path
    body = json.dumps({"model": options.model, "input": [text]}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with OPENER.open(request, timeout=options.timeout) as answer:
            data = json.loads(whole(answer, options.timeout).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        try:
            said = " ".join(error.read1(1 << 16).decode("utf-8", "replace").split())[:160]
        except (http.client.HTTPException, OSError):
            said = "(and broke off)"
        raise ServerError("%s answered %d: %s" % (url, error.code, said), refused=True)
    except http.client.HTTPException as error:
        raise ServerError("%s gave no whole HTTP answer (%r)" % (url, error))
    except ValueError:
        raise ServerError("%s did not answer in JSON; is it the right --url and --api?" % url)
    except OSError as error:
        raise ServerError("no answer at %s (%s); is the server running?" % (url, error))
    try:
        row = data["embeddings"][0] if options.api == "ollama" else data["data"][0]["embedding"]
        return [float(v) for v in row]
    except (KeyError, IndexError, TypeError, ValueError):
        raise ServerError("%s answered without a vector of numbers" % url)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Texts go to the address that was named, and to no other."""

    def redirect_request(self, *_, **__):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def whole(answer, timeout):
    """Read an answer that ends in time and within bounds."""
    parts, size, deadline = [], 0, time.monotonic() + timeout
    while True:
        part = answer.read1(1 << 20)
        parts.append(part)
        size += len(part)
        if not part:
            return b"".join(parts)
        if size > 64000000 or time.monotonic() > deadline:
            raise OSError("the answer is too long or takes more than %g s" % timeout)


def norm(vector):
    """Return the length of a vector."""
    return math.sqrt(sum(v * v for v in vector))


def distance(a, b):
    """Return 1 - cosine of two vectors of any length."""
    return 1 - sum(x * y for x, y in zip(a, b)) / (norm(a) * norm(b))


def changed_files():
    """Return a line for each file that is not the one that was packaged."""
    problems = []
    with open(os.path.join(HERE, "SHA256SUMS"), encoding="utf-8") as sums:
        for line in sums:
            digest, name = line.rstrip("\n").split("  ", 1)
            path = os.path.join(HERE, *name.split("/"))
            if os.path.islink(path):
                problems.append("'%s' is a link, and a package holds none" % name)
                continue
            if not os.path.isfile(path):
                problems.append("'%s' is missing" % name)
                continue
            found = hashlib.sha256()
            with open(path, "rb") as handle:
                for block in iter(lambda: handle.read(1 << 20), b""):
                    found.update(block)
            if found.hexdigest() != digest:
                problems.append("'%s' was changed" % name)
    return problems


def load(name):
    """Return a JSON file of the package."""
    with open(os.path.join(HERE, name), encoding="utf-8") as handle:
        return json.load(handle)


def fail(why):
    """Say why, on stderr, and return the exit code."""
    print("FAILED: " + why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
