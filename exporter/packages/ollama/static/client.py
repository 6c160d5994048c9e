"""Vectors of questions and documents from Ollama, prompts applied. Standard library only.

    from client import embed_documents, embed_queries

Print one from the command line: python client.py "a question" [--url URL] [--dim N]
"""

import argparse
import json
import math
import os
import re
import sys
import unicodedata
import urllib.error
import urllib.request

TIMEOUT_S = 300
LARGEST_ANSWER = 1 << 28
HERE = os.path.dirname(os.path.abspath(__file__))


def load(name):
    """Return a JSON file of the package."""
    with open(os.path.join(HERE, name), encoding="utf-8") as handle:
        return json.load(handle)


PROMPTS = load("prompts.json")
MANIFEST = load("manifest.json")
MODEL = MANIFEST["model_tag"]
ARTIFACT = MANIFEST["artifacts"][0]["artifact"]
DIMS = ARTIFACT["matryoshka_dims"] or [ARTIFACT["dim"]]
FORM = ARTIFACT["options"].get("unicode_form")


def embed_queries(texts, url="http://localhost:11434", dim=None):
    """Return a vector of length 1 for each question; dim: one of the model's smaller ones."""
    return embed([apply(PROMPTS["query"], text=text.strip()) for text in texts], url, dim)


def embed_documents(pairs, url="http://localhost:11434", dim=None):
    """Return a vector of length 1 for each (title, text)."""
    return embed([document(a.strip(), b.strip()) for a, b in pairs], url, dim)


def document(title, text):
    """Return what is sent for a document; one without a title has a template of its own."""
    template = PROMPTS["document" if title else "document_without_title"]
    return apply(template, title=title, text=text)


def apply(template, **values):
    """Fill in {title} and {text} in one go: braces in a text stay as they are."""
    return re.sub(
        r"\{(title|text)\}", lambda found: values.get(found.group(1), found.group()), template
    )


def embed(texts, url, dim):
    """Send texts as they are to Ollama, and cut and scale what comes back.

    `truncate: false`: a text over the model's limit is an error, since Ollama cuts it elsewhere
    than the original does and says nothing.
    """
    if dim is not None and dim not in DIMS:
        raise ValueError("dim %r is none of %s" % (dim, ", ".join(map(str, DIMS))))
    if FORM:  # the original's tokenizer composes characters, llama.cpp's does not
        texts = [unicodedata.normalize(FORM, text) for text in texts]
    body = json.dumps({"model": MODEL, "input": texts, "truncate": False}).encode()
    request = urllib.request.Request(
        url.rstrip("/") + "/api/embed", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        content = answer.read(LARGEST_ANSWER + 1)
    if len(content) > LARGEST_ANSWER:
        raise ValueError("%s answers with more than %d bytes" % (url, LARGEST_ANSWER))
    rows = json.loads(content.decode("utf-8"))["embeddings"]
    return [unit(row[:dim]) for row in rows]


def unit(row):
    """Return the vector scaled to length 1."""
    length = math.sqrt(sum(v * v for v in row))
    return [v / length for v in row]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("question")
    parser.add_argument("--url", default="http://localhost:11434")
    parser.add_argument("--dim", type=int)
    options = parser.parse_args()
    try:
        print(json.dumps(embed_queries([options.question], options.url, options.dim)[0]))
    except urllib.error.HTTPError as error:
        sys.exit("error: %s answered %d: %s" % (error.url, error.code, error.read(500).decode()))
    except (OSError, ValueError) as error:
        sys.exit("error: %s: %s; is Ollama running there?" % (options.url, error))
