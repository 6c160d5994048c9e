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
    limit = max(len(entry["token_ids"]) for entry in golden["texts"])
    worst = 1.0
    for entry in golden["texts"]:
        try:
            vector = embed(options, entry["text"])
        except ServerError as error:
            if len(entry["token_ids"]) == limit and error.refused:
                print("note: texts of over %d tokens are refused here; cut them yourself" % limit)
                continue
            return fail(str(error))
        shown = repr(entry["text"][:30])
        if len(vector) != len(entry["vector"]):
            return fail(
                "%d dimensions instead of %d: another model is served"
                % (len(vector), len(entry["vector"]))
            )
        length = math.sqrt(sum(v * v for v in vector))
        if not length > 0:  # NaN too
            return fail("the vector of %s is zero or not finite" % shown)
        if abs(length - 1) > 1e-3 and entry is golden["texts"][0]:
            print("note: vectors have length %.3g; scale them to 1 before they are stored" % length)
        own, true = cosine(vector, entry["vector"]), cosine(vector, entry["reference"])
        if not own >= golden["cosine_to_own_min"]:
            return fail(
                "cosine %.6f to the package's vector of %s, wanted %s: another model, a "
                "prompt of the server's own, or a lost end token"
                % (own, shown, golden["cosine_to_own_min"])
            )
        if not true >= golden["cosine_to_reference_min"]:
            return fail(
                "cosine %.6f to the original's vector of %s, wanted %s"
                % (true, shown, golden["cosine_to_reference_min"])
            )
        worst = min(worst, own)
    print(
        "ok: %d texts, cosine at least %.6f to the package's vectors"
        % (len(golden["texts"]), worst)
    )
    return 0


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
        with urllib.request.urlopen(request, timeout=options.timeout) as answer:
            data = json.loads(answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        try:
            said = " ".join(error.read().decode("utf-8", "replace").split())[:160]
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


def cosine(a, b):
    """Return the cosine of two vectors of any length."""
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b)) / lengths


def changed_files():
    """Return a line for each file that is not the one that was packaged."""
    problems = []
    with open(os.path.join(HERE, "SHA256SUMS"), encoding="utf-8") as sums:
        for line in sums:
            digest, name = line.rstrip("\n").split("  ", 1)
            path = os.path.join(HERE, *name.split("/"))
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
