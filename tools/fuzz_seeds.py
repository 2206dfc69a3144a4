#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a corpus for every fuzzer from the recorded cases of tests/golden/tensorflow.json.

usage: tools/fuzz_seeds.py DIRECTORY
"""
import json
import pathlib
import struct
import sys
import zlib

WORDS = ["", "GZIP", "ZLIB", "ZSTD", "SNAPPY"]


def png():
    """A picture of two by two pixels."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = zlib.compress(b"\0\xff\0\0\0\xff\0" + b"\0\0\0\xff\xff\xff\xff")
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def seeds(cases):
    """(fuzzer, bytes) of every case that has bytes or columns."""
    yield "image", png()
    for case in cases:
        given, config = case["input"], case["config"]
        for text in given.get("serialized", []):
            if isinstance(text, str):
                yield "sequence" if case["op"] == "parse_sequence_example" else "example", bytes.fromhex(text)
        files = given.get("files", []) + ([given["file"]] if "file" in given else [])
        for text in files:
            if isinstance(text, str):
                word = config.get("compression", "")
                first = WORDS.index(word) if word in WORDS else 0
                yield "stream", bytes([first]) + bytes.fromhex(text)
                yield "records", bytes.fromhex(text)
        if "columns" in config:
            yield "columns", json.dumps(config["columns"]).encode()


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    golden = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "tensorflow.json"
    for number, (name, data) in enumerate(seeds(json.loads(golden.read_text())["cases"])):
        folder = pathlib.Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{number:04d}").write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
