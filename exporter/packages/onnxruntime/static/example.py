"""python example.py "房东不退押金怎么办"   needs: pip install onnxruntime tokenizers"""

import json
import pathlib
import re
import sys

import onnxruntime
from tokenizers import Tokenizer

folder = pathlib.Path(__file__).parent
prompts = json.loads((folder / "prompts.json").read_text("utf-8"))
manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.enable_truncation(manifest["artifacts"][0]["artifact"]["max_tokens"])
tokenizer.enable_padding()
session = onnxruntime.InferenceSession(str(folder / "model.onnx"))


def embed(texts):
    """Return (n, dim) float32 rows of length 1."""
    rows = tokenizer.encode_batch(list(texts))
    feed = {"input_ids": [r.ids for r in rows], "attention_mask": [r.attention_mask for r in rows]}
    return session.run(["sentence_embedding"], feed)[0]


def question(text):
    return prompts["query"].replace("{text}", text)


def document(title, text):
    template = prompts["document" if title else "document_without_title"]
    held = {"{title}": title, "{text}": text}
    return re.sub(r"\{title\}|\{text\}", lambda found: held[found[0]], template)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit('error: ask something: python example.py "a question"')
    print(json.dumps(embed([question(text) for text in sys.argv[1:]]).tolist()))
