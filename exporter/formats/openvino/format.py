"""OpenVINO IR: the pipeline in OpenVINO's own operators."""

from collections.abc import Mapping

from exporter.format import Format, Option, Use


def use(options: Mapping[str, str]) -> Use:
    """Return what IR is for."""
    del options
    return Use("OpenVINO", "Intel processors (OpenVINO)")


def model_files(entry: str) -> tuple[str, ...]:
    """Return the graph and its weights."""
    return entry, entry.removesuffix(".xml") + ".bin"


FORMAT = Format(
    name="openvino",
    label="OpenVINO",
    summary="Write OpenVINO IR with the whole pipeline inside: pooling, Dense, normalisation.",
    schemes={"fp32": "fp32", "int8": "8bit"},
    aliases={"none": "fp32"},
    scheme_option="--quant",
    default_scheme="fp32",
    options=(
        Option("dim", "Cut to a Matryoshka dim inside the graph.", value_type=int, in_name=True),
    ),
    export="exporter.formats.openvino.export:export_openvino",
    encoder="exporter.formats.openvino.runtime:OpenVinoEncoder",
    libraries=("openvino",),
    model_files=model_files,
    export_needs=("openvino",),
    runtime_needs=("openvino",),
    use=use,
    colours=("#8a4a9e", "#cf9be0"),
)
