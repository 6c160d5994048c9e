"""Any server that speaks OpenAI's or Ollama's protocol for embeddings, over HTTP.

Ollama's own has `/api/embed`, which normalizes and cuts long texts; OpenAI's `/v1/embeddings` is
what llama.cpp's server, Ollama and others offer. Nothing but the standard library is needed.
"""

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from exporter.errors import BadInput
from exporter.progress import Progress
from exporter.runtimes.encoder import Vectors, unit_rows

Api = Literal["openai", "ollama"]
TIMEOUT_S = 60.0
BATCH = 32
LARGEST_ANSWER = 256_000_000
"""Bytes: a vector of 768 numbers takes 16 kB in JSON, so thousands of them."""
BLOCK = 1 << 20
SHOWN = 160  # characters of a server's own words


class ServerError(BadInput):
    """A server that does not answer, or answers with something else than vectors.

    `status`: of HTTP, where the server refused; None where it gave no or an unusable answer.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerEncoder:
    """Encoder of a model behind a URL. See `exporter.runtimes.encoder.Encoder`.

    Servers name no token ids, so `token_ids` raises BadInput: a server is proven by golden vectors.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api: Api = "openai",
        timeout_s: float = TIMEOUT_S,
        dim: int | None = None,
    ) -> None:
        if not _is_address(url):
            raise BadInput(f"--url '{url}' is no http address; pass one as http://localhost:11434")
        self.url, self.model, self.api, self.timeout_s = url.rstrip("/"), model, api, timeout_s
        self.name = f"{model} at {self.url}"
        self.dim = len(self.raw(["押金"])[0]) if dim is None else dim

    @property
    def endpoint(self) -> str:
        """Return the address that texts are sent to."""
        if self.api == "ollama":
            return f"{self.url.removesuffix('/api')}/api/embed"
        return f"{self.url.removesuffix('/v1')}/v1/embeddings"

    def raw(self, texts: Sequence[str], **extra: Any) -> list[Vectors]:
        """Return the vectors as the server gives them, one (dim,) float32 each, of any length.

        `extra` joins the request, as `dimensions=128`. Raises ServerError naming the server and
        what is wrong.
        """
        body = {"model": self.model, "input": list(texts), **extra}
        answer = self._post(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        rows = self._rows(answer)
        if len(rows) != len(texts):
            raise ServerError(f"{self.endpoint} gave {len(rows)} vectors for {len(texts)} texts")
        made = [_vector(row, self.endpoint) for row in rows]
        if any(len(row) != len(made[0]) for row in made):
            raise ServerError(f"{self.endpoint} gave vectors of different lengths in one answer")
        return made

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        dim: int | None = None,
        on_progress: Progress | None = None,
    ) -> Vectors:
        rows: list[Vectors] = []
        for start in range(0, len(texts), BATCH):
            part = [prompt + text for text in texts[start : start + BATCH]]
            rows += self.raw(part)
            if on_progress is not None:
                on_progress(len(part))
        made = np.array(rows, np.float32) if rows else np.empty((0, self.dim), np.float32)
        if made.shape[1] != self.dim:
            raise ServerError(f"{self.endpoint} gave {made.shape[1]} dimensions, not {self.dim}")
        return unit_rows(made, texts, dim=dim, source=self.name)

    def token_ids(self, texts: Sequence[str], *, prompt: str = "") -> list[list[int]]:
        del texts, prompt
        raise BadInput(f"{self.name} tells no token ids; compare its vectors: lawvault verify")

    def close(self) -> None:
        """Nothing is held open."""

    def _post(self, body: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(self.endpoint, body, headers)
        deadline = time.monotonic() + self.timeout_s
        try:
            with OPENER.open(request, timeout=self.timeout_s) as answer:
                content = self._whole(answer, deadline)
        except urllib.error.HTTPError as error:
            said = _said(_body(error, deadline))
            raise ServerError(
                f"{self.endpoint} answered {error.code}: {said}", status=error.code
            ) from None
        except TimeoutError:
            raise ServerError(self._slow()) from None
        except http.client.IncompleteRead as error:
            raise ServerError(
                f"{self.endpoint} broke off after {len(error.partial)} bytes of its answer; look "
                "at the server's log"
            ) from None
        except http.client.BadStatusLine as error:
            # RemoteDisconnected is one too: it names no line but says what happened.
            if isinstance(error, ConnectionError):
                raise ServerError(
                    f"{self.url} closed the connection without an answer; look at the server's log"
                ) from None
            raise ServerError(
                f"{self.url} does not speak HTTP but says {_said(str(error).encode())!r}; is it "
                "the right port?"
            ) from None
        except http.client.HTTPException as error:
            raise ServerError(f"{self.endpoint} gave a broken HTTP answer ({error!r})") from None
        except OSError as error:  # URLError and ConnectionError are
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise ServerError(self._slow()) from None
            raise ServerError(
                f"nothing answers at {self.url} ({reason}); start the server, or pass its --url"
            ) from None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise ServerError(
                f"{self.endpoint} did not answer in JSON but {_said(content)!r}; is it the right "
                "--url and --api?"
            ) from None

    def _whole(self, answer: Any, deadline: float) -> bytes:
        """Return an answer that ends in time and within bounds: the timeout of a socket is for one
        block only."""
        parts, size = [], 0
        while part := answer.read1(BLOCK):
            parts.append(part)
            size += len(part)
            if size > LARGEST_ANSWER:
                raise ServerError(
                    f"{self.endpoint} answers with more than {LARGEST_ANSWER / 1e6:.0f} MB; is it "
                    "the right --url?"
                )
            if time.monotonic() > deadline:
                raise TimeoutError
        if answer.length:  # read1 does not say that the body broke off
            raise http.client.IncompleteRead(b"".join(parts), answer.length)
        return b"".join(parts)

    def _slow(self) -> str:
        return (
            f"{self.endpoint} gave no answer within {self.timeout_s:g} s; raise --timeout, or "
            "look at the server's log"
        )

    def _rows(self, answer: Any) -> list[Any]:
        try:
            if self.api == "ollama":
                return list(answer["embeddings"])
            data = sorted(answer["data"], key=lambda entry: entry.get("index", 0))
            return [entry["embedding"] for entry in data]
        except (KeyError, TypeError, AttributeError):
            raise ServerError(
                f"{self.endpoint} answered without vectors: {_said(json.dumps(answer).encode())}; "
                f"is it --api {self.api}?"
            ) from None


def _vector(row: Any, endpoint: str) -> Vectors:
    try:
        made = np.array(row, np.float64)
    except (TypeError, ValueError):
        raise ServerError(f"{endpoint} gave a vector with something that is no number") from None
    if made.ndim != 1 or made.size == 0:
        raise ServerError(
            f"{endpoint} gave something of shape {made.shape} for a text; start the server with "
            "pooling (llama.cpp: --embedding --pooling mean, or last)"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and named below
        narrow = made.astype(np.float32)
    if not np.isfinite(narrow).all():  # null becomes NaN too
        raise ServerError(f"{endpoint} gave a vector with NaN or infinite values")
    return narrow


def _is_address(url: str) -> bool:
    """Return whether urllib could connect to `url`: a scheme, a host, and a port or none."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    clean = url.isascii() and url.isprintable() and " " not in url
    return clean and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Texts go to the address that was named, and to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


OPENER = urllib.request.build_opener(_NoRedirect)


def _body(error: urllib.error.HTTPError, deadline: float) -> bytes:
    """Return the beginning of what a server says of an error."""
    said = b""
    try:
        while len(said) < BLOCK and time.monotonic() < deadline and (part := error.read1(BLOCK)):
            said += part
        return said
    except http.client.IncompleteRead as broken:
        return broken.partial
    except OSError:
        return b"(and no more)"


def _said(content: bytes) -> str:
    text = " ".join(content.decode("utf-8", "replace").split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
