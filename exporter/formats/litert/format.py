"""LiteRT: one .tflite with the whole pipeline, for Android and what else runs LiteRT."""

from collections.abc import Mapping

from exporter.format import Format, Option, Use


def use(options: Mapping[str, str]) -> Use:
    """Return what a .tflite is for."""
    del options
    return Use("LiteRT (Android, Python)", "Android (LiteRT)")


FORMAT = Format(
    name="litert",
    label="LiteRT",
    summary="Write one .tflite with the whole pipeline inside: pooling, Dense, normalisation.",
    schemes={"fp32": "fp32", "int8": "8bit"},
    aliases={"none": "fp32"},
    scheme_option="--quant",
    default_scheme="fp32",
    options=(
        Option(
            "lengths",
            "Tokens that its signatures take; a text goes into the shortest that holds it. "
            "Default: 64,256,1024 and the model's limit.",
            metavar="N,N",
        ),
        Option("dim", "Cut to a Matryoshka dim inside the graph.", value_type=int, in_name=True),
    ),
    export="exporter.formats.litert.export:export_litert",
    encoder="exporter.formats.litert.runtime:LiteRtEncoder",
    libraries=("ai-edge-litert",),
    export_needs=("litert_torch",),
    runtime_needs=("ai_edge_litert",),
    use=use,
    colours=("#3d7a2a", "#8fd07a"),
)
