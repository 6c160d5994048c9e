"""The original in torch: bf16 is what its user runs, fp32 is the truth."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from exporter.architectures.family import family_of, window_reach
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.family import find_family
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.errors import BadInput, LawvaultError, MissingDependency, require
from exporter.offline import offline
from exporter.progress import Progress
from exporter.runtimes.batching import batches_by_length, padded, token_rows
from exporter.runtimes.encoder import Vectors, unit_rows
from exporter.runtimes.memory import release_memory
from exporter.runtimes.peft_layers import add_adapter, base_folder
from exporter.runtimes.text_part import text_part

# Measured on a CPU: 4,096 costs a fifth more, 16,384 twice as much (caches).
TOKEN_BUDGET = {"cpu": 2048, "cuda": 16384}


REFERENCE_NEEDS = ("torch", "transformers", "sentence_transformers")


def require_reference(checkpoint: Checkpoint) -> None:
    """Raise MissingDependency unless what runs the references of a checkpoint is installed."""
    require(*REFERENCE_NEEDS, *(() if checkpoint.adapter is None else ("peft",)))
    family = find_family(checkpoint.model_type)
    if family is None:
        return
    oldest = family.oldest_transformers
    found = tuple(int(part) for part in re.findall(r"\d+", version("transformers"))[:2])
    if found < oldest:
        raise MissingDependency(
            f"transformers {oldest[0]}.{oldest[1]}",
            install=f"pip install 'transformers>={oldest[0]}.{oldest[1]}' (in an environment "
            "without the extra 'traced', which pins it lower)",
        )


def find_device(device: str | None) -> tuple[str, str]:
    """Return the device to run on, CUDA where there is one and none is named, and what it is.

    Raises MissingDependency without torch.
    """
    require("torch")
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    described = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return device, str(described)


def reference_name(dtype: Literal["float32", "bfloat16"], checkpoint: Checkpoint) -> str:
    """Return `torch fp32` or `torch bf16`, with the window where that is the one repaired."""
    name = f"torch {'fp32' if dtype == 'float32' else 'bf16'}"
    repaired = checkpoint.window_used != checkpoint.window_saved
    return f"{name}, window repaired" if repaired else name


class TorchReference:
    """The checkpoint in torch. See `runtimes.encoder.Encoder`.

    sentence-transformers loads the modules and runs them, in `dtype` throughout; texts are
    tokenized here, as given (5.x would strip them). An adapter is run unmerged by PEFT, in the
    precision that PEFT gives it. Runs on CUDA where there is one.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        dtype: Literal["float32", "bfloat16"],
        device: str | None = None,
        dense: bool = True,
        pooling: str | None = None,
        reach: int | None = None,
    ) -> None:
        """`dense=False` leaves the Dense modules out, as a runtime does that does not know them;
        `pooling` is another than the checkpoint's, as sentence-transformers names it; `reach`:
        another than its sliding window's."""
        self.device, _ = find_device(device)
        with offline(), quiet(), _own_head_dim():
            require_reference(checkpoint)
            import torch
            from sentence_transformers import SentenceTransformer

            self._torch: Any = torch
            config: dict[str, Any] = {}
            if reach is not None or checkpoint.window_used != checkpoint.window_saved:
                config["sliding_window"] = _loaded_window(checkpoint, reach)
            try:
                with (
                    base_folder(checkpoint) as whole,
                    text_part(checkpoint, whole) as (folder, options),
                ):
                    self._model: Any = SentenceTransformer(
                        str(folder),
                        device=self.device,
                        local_files_only=True,
                        model_kwargs={"dtype": getattr(torch, dtype), **options},
                        config_kwargs=config,
                    ).eval()
                if checkpoint.adapter is not None:
                    add_adapter(self._model, checkpoint)
            except LawvaultError:
                raise
            except Exception as error:
                reason = " ".join(str(error).split())[:200]
                raise BadInput(
                    f"sentence-transformers cannot load '{checkpoint.path}' ({reason}); "
                    "without a reference nothing can be compared"
                ) from error
        self._check_window(checkpoint, reach)
        if pooling is not None:
            kind = type(self._model[1])  # its second argument is the mode in all versions
            self._model[1] = kind(self._model[1].get_embedding_dimension(), pooling)
        if not dense:
            kept = [module for module in self._model if type(module).__name__ != "Dense"]
            self._model = torch.nn.Sequential(*kept)
        self.name = reference_name(dtype, checkpoint)
        self.dim = checkpoint.dim
        self._tokenizer = load_tokenizer(
            checkpoint.path / "tokenizer.json", max_tokens=checkpoint.max_tokens
        )

    def _check_window(self, checkpoint: Checkpoint, reach: int | None) -> None:
        expected = _loaded_window(checkpoint, reach)
        if expected is None:
            return
        found = self._model[0].auto_model.config.sliding_window
        if found != expected:
            raise BadInput(
                f"transformers loaded '{checkpoint.path}' with a sliding window of {found}, this "
                f"tool expects {expected}; install transformers >= 4.57"
            )

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        return token_rows(self._tokenizer, texts, prompt=prompt)

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
        vectors = np.empty((len(texts), self.dim), np.float32)
        rows = self.token_ids(texts, prompt=prompt)
        budget = TOKEN_BUDGET.get(self.device.split(":")[0], TOKEN_BUDGET["cpu"])
        for picked, ids, mask in batches_by_length(rows, budget=budget):
            vectors[picked] = self._run(ids, mask)
            if on_progress is not None:
                on_progress(len(picked))
        return unit_rows(vectors, texts, dim=dim, source=self.name)

    def encode_padded(
        self, rows: Sequence[Sequence[int]], *, width: int, left: bool = False
    ) -> Vectors:
        vectors = self._run(*padded(rows, width=width, left=left))
        return unit_rows(vectors, ["padded"] * len(rows), dim=None, source=self.name)

    def _run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Vectors:
        torch = self._torch
        features = {
            "input_ids": torch.from_numpy(ids).to(self.device),
            "attention_mask": torch.from_numpy(mask).to(self.device),
        }
        with torch.inference_mode():
            vectors: Vectors = self._model(features)["sentence_embedding"].float().cpu().numpy()
        return vectors

    def close(self) -> None:
        del self._model, self._tokenizer
        release_memory()


def _loaded_window(checkpoint: Checkpoint, reach: int | None) -> int | None:
    """Return what transformers' config has for the window after load: an exclusive bound where it
    halves what is saved, else how far apart positions see each other. None without a window."""
    reach = window_reach(checkpoint) if reach is None else reach
    if reach is None or checkpoint.architecture is None:
        return None
    return reach + 1 if family_of(checkpoint.architecture).halves_window else reach


@contextlib.contextmanager
def _own_head_dim() -> Iterator[None]:
    """Let transformers 5 load a hidden size that is no multiple of the number of heads.

    Its validator asks for one even where config.json gives head_dim, as Gemma 3's does; the
    projections are built from head_dim, so the check guards nothing here. 4.57 has no validator.
    """
    try:
        from transformers import Gemma3TextConfig
    except ImportError:
        yield
        return
    validators = getattr(Gemma3TextConfig, "__class_validators__", None)
    if validators is None:
        yield
        return
    Gemma3TextConfig.__class_validators__ = [
        v for v in validators if getattr(v, "__name__", "") != "validate_architecture"
    ]
    try:
        yield
    finally:
        Gemma3TextConfig.__class_validators__ = validators


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep loading from printing: its warnings are findings of `inspect`, or noise."""
    root = logging.getLogger()
    level = root.level
    noise = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(noise),
        contextlib.redirect_stderr(noise),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
            root.setLevel(level)
