# docker build --target cpu -t lawvault .      # or --target cuda: torch and onnxruntime on an NVIDIA GPU
# docker run -v "$PWD:/work" lawvault release --checkpoint model --corpus corpus
#
# TORCH_OPTIONS: of pip, for torch alone, as an index of CPU builds: the default build brings CUDA.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheels
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential=12.9 cmake=3.25.1-1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY recipes recipes
COPY parity_tests/fixtures parity_tests/fixtures
# GGML_NATIVE off: the image may run on another processor than it was built on.
RUN CMAKE_ARGS="-DGGML_NATIVE=OFF" \
    pip wheel --no-cache-dir --no-deps --wheel-dir /wheels llama-cpp-python==0.3.36 . \
    && cp constraints.txt /wheels

FROM python:${PYTHON}-slim-bookworm AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1=12.2.0-14+deb12u1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 lawvault
COPY --from=wheels /wheels /wheels
ARG TORCH_OPTIONS=""
# hadolint ignore=DL3013,SC2086
RUN pip install --no-cache-dir -c /wheels/constraints.txt ${TORCH_OPTIONS} torch
WORKDIR /work
ENTRYPOINT ["lawvault"]
CMD ["--help"]

FROM base AS cpu
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --find-links /wheels -c /wheels/constraints.txt 'lawvault-exporter[all]'
USER 1000

# onnxruntime and onnxruntime-gpu install the same module: this one has the latter, and no OpenVINO.
FROM base AS cuda
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --find-links /wheels -c /wheels/constraints.txt \
    'lawvault-exporter[torch,gpu,gguf,llamacpp,index]'
USER 1000
