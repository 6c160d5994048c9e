"""GGUF: one file with the Dense modules inside, for llama.cpp and Ollama."""

from collections.abc import Mapping

from exporter.format import Format, Option, Use
from exporter.formats.gguf.names import PLANS


def use(options: Mapping[str, str]) -> Use:
    """Return what a GGUF is for."""
    del options
    return Use("llama.cpp, Ollama", "Ollama, llama.cpp")


FORMAT = Format(
    name="gguf",
    label="GGUF",
    summary="Write one GGUF file for llama.cpp and Ollama, Dense modules inside.",
    schemes={
        "f32": "fp32",
        "f16": "16bit",
        "bf16": "16bit",
        "q8_0": "8bit",
        "q6_k": "6bit",
        "q5_k_m": "6bit",
        "q4_k_m": "4bit",
        "q4_0": "4bit",
        "iq4_nl": "4bit",
        "mixed": "4bit",
    },
    scheme_option="--type",
    default_scheme="q8_0",
    options=(
        Option(
            "plan",
            "This project's types for each tensor, or llama.cpp's own.",
            default="embedding",
            choices=tuple(PLANS),
            in_recipe=True,
            in_name=True,
        ),
        Option(
            "embedding_type",
            "Of the embedding table. Default: by --type, q8_0 for q8_0.",
            metavar="TYPE",
            in_recipe=True,
            in_name=True,
        ),
        Option(
            "budget",
            "The most bytes of the model, as 150MB: each tensor's width is chosen by what it costs "
            "the vector on calibration text.",
            metavar="SIZE",
            in_recipe=True,
            in_name=True,
        ),
        Option(
            "imatrix",
            "Round on calibration text, so that errors compensate each other; auto: below 8 bits. "
            "Or by an importance matrix of llama.cpp.",
            default="auto",
            metavar="auto|on|off|FILE",
            in_recipe=True,
        ),
        Option(
            "prompt_keys",
            "Add prompts and Matryoshka dims as keys under 'lawvault.'.",
            default=False,
            value_type=bool,
        ),
    ),
    export="exporter.formats.gguf.export:export_gguf",
    encoder="exporter.formats.gguf.runtime:LlamaCppEncoder",
    calibrates="exporter.formats.gguf.options:calibrates",
    kernels="exporter.formats.gguf.llamacpp_kernels:kernels",
    libraries=("llama-cpp-python",),
    export_needs=("gguf",),
    runtime_needs=("llama_cpp",),
    use=use,
    colours=("#c4590a", "#f59a4c"),
    mark="square",
    first_look=True,
    snippet_language="sh",
)
