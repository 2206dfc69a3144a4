#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a corpus for every fuzzer from the recorded cases of tests/golden/tensorflow.json.

usage: tools/fuzz_seeds.py DIRECTORY
"""
import io
import json
import pathlib
import re
import struct
import sys
import tarfile
import zlib

WORDS = ["", "GZIP", "ZLIB", "ZSTD", "SNAPPY"]


def png():
    """A picture of two by two pixels."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = zlib.compress(b"\0\xff\0\0\0\xff\0" + b"\0\0\0\xff\xff\xff\xff")
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def tar(layout, name):
    """A sample of an image, a caption as JSON and a label, under a name that may need a header of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=layout) as file:
        for ending, data in ((".png", png()), (".json", b'{"caption": "two pixels"}'), (".cls", b"1")):
            member = tarfile.TarInfo(name + ending)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return out.getvalue()


def layer_column(config, inputs):
    """A recorded layer as a column of a feature that the fuzzer has: x of floats, a of integers, s or w of words."""
    named = lambda i, given: {"float32": "x", "bytes": "sw"[i % 2]}.get(given["dtype"], "a")
    kind = re.sub("(?<=[a-z])(?=[A-Z])", "_", config["layer"]).lower()
    column = {"type": kind, "key": named(0, inputs[0]), "dtype": inputs[0]["dtype"], **config["args"]}
    if len(inputs) > 1:
        del column["key"], column["dtype"]
        column["keys"] = [{"key": named(1, one), "dtype": one["dtype"]} for one in inputs]
    return {name: value for name, value in column.items() if value is not None}


def seeds(cases):
    """(fuzzer, bytes) of every case that has bytes or columns."""
    yield "image", png()
    for layout in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        yield "table", b"\0" + tar(layout, "a/1" if layout == tarfile.USTAR_FORMAT else "n" * 150)
    yield "table", b"\1path\tcaption\none.png\ta picture\tart\r\n"
    yield "table", b"\2tandem-index 1\nbytes 0\nmtime_ns 0\ncrc32c 00000000\nrecords 0\nend 00000000\n"
    yield "table", b"\x030 16\n16 20\n"
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
                yield "stream", bytes([0x40 | first]) + bytes.fromhex(text)
                yield "records", bytes.fromhex(text)
        if "columns" in config:
            yield "columns", json.dumps(config["columns"]).encode()
        if case["op"] == "keras_layer":
            yield "columns", json.dumps([layer_column(config, given["inputs"])]).encode()


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
