"""python example.py "房东不退押金怎么办"   needs: pip install ai-edge-litert tokenizers numpy"""

import json
import pathlib
import re
import sys

import numpy
from ai_edge_litert.interpreter import Interpreter
from tokenizers import Tokenizer

folder = pathlib.Path(__file__).parent
prompts = json.loads((folder / "prompts.json").read_text("utf-8"))
manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.enable_truncation(manifest["artifacts"][0]["artifact"]["max_tokens"])
tokenizer.no_padding()
model = Interpreter(str(folder / "model.tflite"))
lengths = sorted(int(name.removeprefix("tokens_")) for name in model.get_signature_list())


def embed(texts):
    """Return (n, dim) float32 rows of length 1: each text in the shortest signature that fits."""
    made = []
    for row in tokenizer.encode_batch(list(texts)):
        length = next(n for n in lengths if n >= len(row.ids))
        ids, mask = (numpy.zeros((1, length), numpy.int32) for _ in range(2))
        ids[0, : len(row.ids)], mask[0, : len(row.ids)] = row.ids, 1
        run = model.get_signature_runner(f"tokens_{length}")
        (vector,) = run(input_ids=ids, attention_mask=mask).values()
        made.append(numpy.array(vector[0]))
    return numpy.stack(made)


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
