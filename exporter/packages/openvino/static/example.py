"""python example.py "房东不退押金怎么办"   needs: pip install openvino tokenizers"""

import json
import pathlib
import re
import sys

import numpy
import openvino
from tokenizers import Tokenizer

folder = pathlib.Path(__file__).parent
prompts = json.loads((folder / "prompts.json").read_text("utf-8"))
manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.enable_truncation(manifest["artifacts"][0]["artifact"]["max_tokens"])
tokenizer.enable_padding()
# Without the hint, processors with AMX compute the float32 parts in bfloat16.
hint = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model(folder / "model.xml", "CPU", hint)


def embed(texts):
    """Return (n, dim) float32 rows of length 1."""
    rows = tokenizer.encode_batch(list(texts))
    ids, mask = (numpy.array([getattr(r, n) for r in rows]) for n in ("ids", "attention_mask"))
    return numpy.array(model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"])


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
