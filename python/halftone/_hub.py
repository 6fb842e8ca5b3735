"""How the environment says that the model hub is reached, as the command line reads it. Nothing here is public."""

from __future__ import annotations

import os
from pathlib import Path

_TEXTS = {
    "hub-endpoint": ("HF_ENDPOINT",),
    "hub-proxy": ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
    "hub-no-proxy": ("NO_PROXY", "no_proxy"),
    "hub-ca-file": ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "hub-timeout": ("HF_HUB_DOWNLOAD_TIMEOUT",),
    "hub-tries": ("HALFTONE_HUB_TRIES",),
}
_YES = ("1", "true", "yes", "on")
# Where systems keep the certificates that they trust: the library's own default is Debian's
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def _variable(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _home() -> Path | None:
    if home := _variable("HF_HOME"):
        return Path(home)
    if cache := _variable("XDG_CACHE_HOME"):
        return Path(cache) / "huggingface"
    user = _variable("HOME")
    return Path(user) / ".cache/huggingface" if user else None


def _token() -> str | None:
    token, home = _variable("HF_TOKEN", "HUGGINGFACE_TOKEN", "HUGGING_FACE_HUB_TOKEN"), _home()
    file = _variable("HF_TOKEN_PATH") or (str(home / "token") if home else None)
    if token is None and file is not None:
        try:
            with open(file, encoding="utf-8") as lines:
                token = lines.readline(4096)
        except (OSError, UnicodeDecodeError):
            return None
    return (token or "").strip() or None


def options() -> dict[str, str]:
    """Names and values, as jobs and models take them."""
    found = {option: value for option, names in _TEXTS.items() if (value := _variable(*names))}
    home = _home()
    cache = _variable("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") or (str(home / "hub") if home else None)
    if cache:
        found["hub-cache"] = cache
    if token := _token():
        found["hub-token"] = token
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES:
        found["offline"] = "true"
    if "hub-ca-file" not in found:
        trusted = next((path for path in _CERTIFICATES if os.path.exists(path)), None)
        if trusted:
            found["hub-ca-file"] = trusted
    return found
