"""What a GGUF export is asked for by name, and where it lives. Resolved when it is asked for."""

from collections.abc import Mapping

TYPES: Mapping[str, str] = {
    "f32": "exporter.formats.gguf.types:F32",
    "f16": "exporter.formats.gguf.types:F16",
    "bf16": "exporter.formats.gguf.types:BF16",
    "q8_0": "exporter.formats.gguf.types:Q8_0",
    "q6_k": "exporter.formats.gguf.types:Q6_K",
    "q5_k_m": "exporter.formats.gguf.types:Q5_K_M",
    "q4_k_m": "exporter.formats.gguf.types:Q4_K_M",
    "q4_0": "exporter.formats.gguf.types:Q4_0",
    "iq4_nl": "exporter.formats.gguf.types:IQ4_NL",
    "mixed": "exporter.formats.gguf.types:MIXED",
}
PLANS: Mapping[str, str] = {
    "embedding": "exporter.formats.gguf.plan:EMBEDDING",
    "upstream": "exporter.formats.gguf.plan:UPSTREAM",
}
TOKENIZERS: Mapping[str, str] = {
    "llama": "exporter.formats.gguf.tokenizer:TOKENIZER",
    "bert": "exporter.formats.gguf.wordpiece:TOKENIZER",
    "gpt2": "exporter.formats.gguf.tokenizer_bytes:TOKENIZER",
}
"""By llama.cpp's name, tokenizer.ggml.model."""
UNICODE_FORM = "unicode_form"
"""Option of a manifest: the form, as NFC, that texts must be in, since llama.cpp makes none."""
IMATRIX_CHOICES = ("auto", "on", "off")
