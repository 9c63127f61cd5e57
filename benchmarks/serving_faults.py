"""What harms a server: uploads cut off, malformed bodies, headers that claim gigabytes, bombs, replaced files.

Every fault comes many times; printed are the statuses each gave, and the server's memory before and after. Usage:

    python benchmarks/serving_faults.py [--bodies 10000]
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import random
import socket
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from _serving import Server, jpeg, make_bundle, serving

PATH = "/v1/models/bench/predict"
SIZE = (32, 32)
MOST_GROWTH = 64 << 20
"""Bytes that the server may have grown by in the end: caches and fragmentation, no leak."""


class Client:
    """Sends bodies over one connection, and opens another where the server has closed it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open()

    def _open(self) -> None:
        self._connection = http.client.HTTPConnection(self._server.host, self._server.port, timeout=60)

    def status(self, body: bytes, kind: str) -> int:
        """Return the status that a body gets; 0 for none, also over a connection that nobody has closed meanwhile."""
        for _ in range(2):
            try:
                self._connection.request("POST", PATH, body, {"content-type": kind})
                answer = self._connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                self._open()
            else:
                return answer.status
        return 0


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes) -> bytes:
    """Return a gray PNG file that claims a size, with such pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bombs() -> Iterator[tuple[str, bytes, str]]:
    """Yield what unpacks to far more than it is, or says so."""
    yield "PNG header of 4 GB", png(65_535, 65_535, b""), "image/png"
    zeros = zlib.compress(bytes(64 << 20), 9)
    yield "PNG bomb, 20,000 x 20,000", png(20_000, 20_000, zeros), "image/png"
    yield "PNG of 32 x 32 with 64 MB of pixels", png(*SIZE, zeros), "image/png"
    text = chunk(b"zTXt", b"a\0\0" + zeros)
    whole = png(*SIZE, zlib.compress(bytes(33 * 32)))
    yield "PNG with 64 MB of text", whole[:33] + text + whole[33:], "image/png"
    stream = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(stream, "TIFF", compression="group4")
    yield "TIFF of 900 megapixels", stream.getvalue(), "image/tiff"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", bytes(256 << 20))
    yield "npz of 256 MB", stream.getvalue(), "application/x-npz"
    yield "npy header of 4 TB", npy_header((1 << 20, 1 << 20)), "application/x-npy"
    yield "JSON of 100,000 brackets", b"[" * 100_000, "application/json"


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an array, without its numbers."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def malformed(count: int) -> Iterator[tuple[bytes, str]]:
    """Yield bodies that were whole, with bytes changed, lost and put in."""
    rng = random.Random(0)
    stream = io.BytesIO()
    np.save(stream, np.zeros((*SIZE, 3), np.uint8))
    picture = jpeg(SIZE)
    form = (
        b'--b\r\ncontent-disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n' + picture + b"\r\n--b--\r\n"
    )
    seeds = [
        (picture, "image/jpeg"), (png(*SIZE, zlib.compress(bytes(33 * 32))), "image/png"),
        (stream.getvalue(), "application/x-npy"), (form, "multipart/form-data; boundary=b"),
        (json.dumps({"images": ["aaaa"]}).encode(), "application/json"), (b"", "application/octet-stream"),
    ]  # fmt: skip
    for number in range(count):
        body, kind = seeds[number % len(seeds)]
        changed = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            at = rng.randint(0, len(changed))
            changed[at : at + rng.randint(0, 8)] = rng.randbytes(rng.randint(0, 8))
        yield bytes(changed), kind


def cut(server: Server, times: int) -> None:
    """Break uploads off."""
    for number in range(times):
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n".encode())
            client.sendall(bytes(1000 * (number % 50)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--cuts", type=int, default=500)
    asked = parser.parse_args()
    seen: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = make_bundle(folder / "bench", "resnet10t", SIZE)
        with serving(f"bench={model}", workspace=folder, log=folder / "log") as server:
            client = Client(server)
            good = jpeg(SIZE)
            for _ in range(200):
                client.status(good, "image/jpeg")
            before = server.memory
            for name, body, kind in bombs():
                found = Counter(client.status(body, kind) for _ in range(5))
                seen += found
                print(f"{name} ({len(body):,} bytes): {dict(found)}; memory {server.memory >> 20} MiB")
            found = Counter(client.status(body, kind) for body, kind in malformed(asked.bodies))
            seen += found
            print(f"{asked.bodies:,} malformed bodies: {dict(sorted(found.items()))}")
            cut(server, asked.cuts)
            print(f"{asked.cuts} uploads cut: {client.status(good, 'image/jpeg')} afterwards")
            weights = model / "model.safetensors"
            with weights.open("r+b") as file:
                file.write(bytes(4096))
                file.truncate(100)
            print(f"model file replaced: {client.status(good, 'image/jpeg')} afterwards")
            after = server.memory
    print(f"memory: {before >> 20} MiB before, {after >> 20} MiB after")
    if seen[0] or any(status >= 500 for status in seen) or after - before > MOST_GROWTH:
        raise SystemExit("expected an answer of the client's fault to every body, and no growth")


if __name__ == "__main__":
    main()
