"""Downloads of published weights.

They use https only, from named hosts, to no private address, and are checked by SHA-256.
"""

import hashlib
import http.client
import ipaddress
import os
import socket
import ssl
from pathlib import Path
from typing import IO
from urllib.parse import urljoin, urlsplit

from xai.errors import CheckpointError
from xai.models.sandbox import client as cache

HOSTS = ("download.pytorch.org", "huggingface.co", "github.com", "objects.githubusercontent.com")
_MOST = 8 << 30
_AT_ONCE = 1 << 20
_REDIRECTS = 3
_SECONDS = 30


def fetch(url: str, sha256: str) -> Path:
    """Return the place of a downloaded file; one that was downloaded before is not asked for again.

    Args:
        url: https, of one of `HOSTS`.
        sha256: what the file's SHA-256 is or begins with; a full one is 64 digits. What it turned out to be is kept
            beside the file, and another file under the same name is refused from then on.

    Raises:
        CheckpointError: another protocol, host or address, no connection, or another file than the published one.
    """
    place = cache.folder() / "downloads" / hashlib.sha256(url.encode()).hexdigest()
    if not place.exists():
        place.parent.mkdir(mode=0o700, exist_ok=True)
        with cache.fresh() as file:
            _download(url, file)
            file.flush()
            Path(file.name).replace(place)
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    pin = place.with_suffix(".sha256")
    pinned = pin.read_text(encoding="ascii") if pin.exists() else digest
    if not digest.startswith(sha256) or digest != pinned:
        place.unlink()
        raise CheckpointError(f"{url}: not the published file (SHA-256 {digest[:16]}... differs). Download it again.")
    pin.write_text(digest, encoding="ascii")
    return place


def _download(url: str, file: IO[bytes]) -> None:
    for _ in range(_REDIRECTS + 1):
        response = _response(url)
        if response.status in {301, 302, 303, 307, 308}:
            url = urljoin(url, response.headers.get("Location", ""))
            continue
        if response.status != 200:
            raise CheckpointError(f"{url}: the server returned {response.status} {response.reason}. Check the name.")
        _copy(response, file, url)
        return
    raise CheckpointError(f"{url}: more than {_REDIRECTS} redirects.")


def _response(url: str) -> http.client.HTTPResponse:
    """Ask for a file at the address that was checked, not at what the name may mean a moment later."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or parts.port not in {None, 443} or parts.username is not None:
        raise CheckpointError(f"{url[:200]}: only https is used for downloads.")
    if host not in HOSTS:
        raise CheckpointError(f"{url[:200]}: downloads come from {', '.join(HOSTS)} only. Download it yourself.")
    try:
        address = public_address(host)
        connection = http.client.HTTPSConnection(host, timeout=_SECONDS)
        plain = socket.create_connection((address, 443), _SECONDS)
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        connection.request(
            "GET", parts.path + (f"?{parts.query}" if parts.query else ""), headers={"User-Agent": "xai"}
        )
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise CheckpointError(f"{url[:200]}: no connection ({type(error).__name__}). Check the network.") from error


def public_address(host: str) -> str:
    """Return an address of a host.

    Raises:
        CheckpointError: one of its addresses is private, local or reserved.
        OSError: no such host.
    """
    addresses = [entry[4][0] for entry in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)]
    for address in addresses:
        if not ipaddress.ip_address(str(address)).is_global:
            raise CheckpointError(f"{host}: its address {address} is not a public one, so nothing is asked of it.")
    return str(addresses[0])


def _copy(response: http.client.HTTPResponse, file: IO[bytes], url: str) -> None:
    total = 0
    while part := response.read(_AT_ONCE):
        total += len(part)
        if total > _MOST:
            raise CheckpointError(f"{url}: more than {_MOST >> 30} GB.")
        file.write(part)


def in_torch_cache(name: str) -> Path | None:
    """Return the file of this name that torch downloaded before, where there is one."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    place = Path(home) / "hub" / "checkpoints" / name
    return place if place.is_file() else None
