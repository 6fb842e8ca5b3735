"""Requests to the server: JSON in, JSON out, with errors that say what was asked and what to do."""

from __future__ import annotations

import http.client
import json
import os
import urllib.parse
from typing import Any

from .. import errors

_LARGEST = 64 << 20  # bytes of an answer


def address(host: str | None) -> tuple[str, str, int, str]:
    """Scheme, host, port and path, as Ollama's own programs read ``OLLAMA_HOST``."""
    text = (host if host is not None else os.environ.get("OLLAMA_HOST", "")).strip() or "http://127.0.0.1:11434"
    given = "://" in text
    parts = urllib.parse.urlsplit(text if given else "http://" + text)
    if parts.scheme not in ("http", "https"):
        raise errors.UsageError("the address of a server begins with http:// or https://", text)
    try:
        port = parts.port
    except ValueError:
        raise errors.UsageError("its port is no number from 0 to 65535", text) from None
    name = parts.hostname or "127.0.0.1"
    if name in ("0.0.0.0", "::"):  # addresses to listen at
        name = "127.0.0.1" if name == "0.0.0.0" else "::1"
    if port is None:
        port = 11434 if not given else 443 if parts.scheme == "https" else 80
    return parts.scheme, name, port, parts.path.rstrip("/")


class Wire:
    """A connection for each request; the token goes to the named server alone, redirects are not followed."""

    def __init__(self, host: str | None, token: str | None, timeout: float) -> None:
        self.scheme, self.host, self.port, self.path = address(host)
        self.token = token if token is not None else os.environ.get("OLLAMA_API_KEY")
        self.timeout = timeout

    @property
    def url(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{name}:{self.port}{self.path}"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        connection = kind(self.host, self.port, timeout=self.timeout)
        try:
            connection.request(method, self.path + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read(_LARGEST + 1)
        except TimeoutError:
            raise errors.InputOutputError(f"no answer within {self.timeout:g} seconds", self.url + path) from None
        except (OSError, http.client.HTTPException) as e:
            raise errors.InputOutputError(f"the server cannot be reached: {e or type(e).__name__}", self.url) from e
        finally:
            connection.close()
        if len(data) > _LARGEST:
            raise errors.LimitError("the answer is larger than 64 MiB", self.url + path)
        return answer.status, self._parse(path, data)

    def _parse(self, path: str, data: bytes) -> Any:
        try:
            return json.loads(data) if data.strip() else None
        except (ValueError, RecursionError):
            raise errors.FormatError("the answer is no JSON: is this an Ollama server?", self.url + path) from None

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, what: str = "") -> dict[str, Any]:
        """An object; an error of the server is raised with its words."""
        status, value = self.call(method, path, body)
        if not 200 <= status < 300:
            self.fail(status, value, what or path)
        if not isinstance(value, dict):
            raise errors.FormatError("the answer is no JSON object: is this an Ollama server?", self.url + path)
        if isinstance(value.get("error"), str):  # the last line of what was a stream
            raise errors.UnsupportedError(value["error"], what or path)
        return value

    def fail(self, status: int, value: Any, what: str) -> None:
        told = value.get("error") if isinstance(value, dict) else None
        message = told if isinstance(told, str) and told else f"the server answered {status}"
        kinds: dict[int, type[errors.HalftoneError]] = {
            401: errors.DeniedError,
            403: errors.DeniedError,
            404: errors.NotFoundError,
            503: errors.InputOutputError,
            507: errors.NoSpaceError,
        }
        otherwise = errors.InputOutputError if status >= 500 else errors.UnsupportedError
        raise kinds.get(status, otherwise)(message, what)
