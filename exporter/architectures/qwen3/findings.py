"""What a Qwen 3 embedding model asks of whoever runs it, with the evidence in its files."""

from pathlib import Path

from exporter.architectures.qwen3.config import Qwen3Architecture
from exporter.checkpoint.contents import Finding
from exporter.checkpoint.family import Reading
from exporter.checkpoint.json_file import read_object

END = "<|endoftext|>"
"""What its tokenizer puts behind a text, and last-token pooling lies on."""
INSTRUCT = "Instruct:"
EXAMPLE = (
    f"'{INSTRUCT} Given a web search query, retrieve relevant passages that answer the "
    "query\\nQuery:'"
)
"""As https://huggingface.co/Qwen/Qwen3-Embedding-0.6B saves it."""


def architecture_findings(a: Qwen3Architecture) -> list[Finding]:
    """Return the findings on arithmetic: causal attention, the residual in fp16, the table."""
    return [
        Finding(
            id="causal-attention",
            severity="info",
            evidence=f"model_type is {a.model_type}: a token sees itself and what stands before it",
            effect="a runtime that lets tokens see the whole text gives other vectors; padding on "
            "the right is never seen",
            remedy="none needed here: every artifact masks what stands behind",
        ),
        Finding(
            id="fp16-range",
            severity="info",
            evidence="nothing normalises what a layer adds to the residual stream, so the weights "
            "bound it nowhere",
            effect="plain fp16 can overflow to Inf and give NaN vectors on ordinary text",
            remedy="measure it with 'lawvault inspect --ranges'; an fp16 artifact has its residual "
            "stream scaled to fit",
        ),
        Finding(
            id="output-matrix",
            severity="info",
            evidence=f"tie_word_embeddings is {str(a.tied).lower()}",
            effect="none: no vector reads the output matrix of the language model (lm_head), "
            "whether it is the embedding table or one of its own",
            remedy="none needed: artifacts leave lm_head.weight out",
        ),
    ]


def usage_findings(reading: Reading) -> list[Finding]:
    """Return the findings on pooling, the end token, padding, the instruction and Unicode."""
    found = [_end(reading), _padding(reading), _instruction(reading)]
    if reading.pooling != "lasttoken":
        found.append(_pooling(reading))
    if reading.facts.composes:
        found.append(_unicode())
    return found


def _end(reading: Reading) -> Finding:
    last = reading.pooling == "lasttoken"
    if reading.facts.adds_eos:
        return Finding(
            id="end-token",
            severity="info",
            evidence=f"tokenizer.json puts {END} behind each text",
            effect="last-token pooling lies on it: a runtime that drops it, also where a text is "
            "cut, gives the vector of another token"
            if last
            else "a runtime that drops it, also where a text is cut, gives other vectors",
            remedy="token ids are compared before vectors",
        )
    return Finding(
        id="end-token",
        severity="error",
        evidence=f"tokenizer.json does not put {END} behind a text",
        effect="last-token pooling lies on whatever token a text ends with, not on the one that "
        "Qwen3-Embedding was trained to read; servers whose tokenizer adds it give other vectors"
        if last
        else "Qwen3-Embedding was trained with it; servers whose tokenizer adds it give other "
        "vectors",
        remedy="take tokenizer.json from Qwen/Qwen3-Embedding-0.6B, whose post-processor adds it "
        "(its first release did not)",
    )


def _padding(reading: Reading) -> Finding:
    side = _padding_side(reading.folder)
    return Finding(
        id="padding-side",
        severity="warning" if side == "right" else "info",
        evidence="tokenizer_config.json names no padding_side; the default is right"
        if side is None
        else f"tokenizer_config.json pads on the {side}",
        effect="code that pools the last position of a padded batch is right with padding on the "
        "left alone; on the right it takes padding for every text but the longest",
        remedy="pool the last token that the mask shows, as every artifact here does, whatever "
        "side is padded; for such code load the tokenizer with padding_side='left'",
    )


def _padding_side(folder: Path) -> str | None:
    path = folder / "tokenizer_config.json"
    value = read_object(path).get("padding_side") if path.is_file() else None
    return None if value is None else str(value)


def _instruction(reading: Reading) -> Finding:
    query, document = reading.prompts.query, reading.prompts.document
    instructed = query.startswith(INSTRUCT)
    if not instructed:
        severity, evidence = "warning", f"the query prompt {query!r} is no instruction"
        effect = "Qwen3-Embedding was trained with one on questions; without it retrieval loses "
        effect += "one to five per cent (https://github.com/QwenLM/Qwen3-Embedding)"
    elif document.startswith(INSTRUCT):
        severity, evidence = "warning", f"the document prompt {document!r} is an instruction"
        effect = "Qwen3-Embedding was trained with documents as they are"
    else:
        severity, evidence = "info", "questions have an instruction in front, documents none"
        effect = "a runtime that leaves it out, or puts it before documents, gives other vectors"
    return Finding(
        id="instruction",
        severity="info" if severity == "info" else "warning",
        evidence=evidence,
        effect=effect,
        remedy=f"name the prompts of your index with --prompts; the base model's is {EXAMPLE}",
    )


def _pooling(reading: Reading) -> Finding:
    return Finding(
        id="pooling",
        severity="warning",
        evidence=f"the Pooling module pools by {reading.pooling}; Qwen3-Embedding was trained with "
        "lasttoken",
        effect="unless the fine-tuning pooled so too, every vector is another one: a first token "
        "never saw the rest of its text",
        remedy="set pooling_mode_lasttoken in the Pooling module's config.json, or keep it where "
        "the model was trained so; every artifact pools as that file says",
    )


def _unicode() -> Finding:
    return Finding(
        id="unicode-form",
        severity="info",
        evidence="tokenizer.json composes characters (NFC) before it looks for pieces",
        effect="llama.cpp and Ollama do not: a text with decomposed accents gets other token ids "
        "there",
        remedy="compose texts (NFC) before they are sent to such a server, as this tool and its "
        "packages' clients do",
    )
