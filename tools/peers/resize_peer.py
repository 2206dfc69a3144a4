#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pillow's bicubic resize of RGB pictures on the sizes of tandem's cases data/image/resize: one JSON line a size.

    build/peers/bin/python tools/peers/resize_peer.py [--seconds S] [--tandem PROGRAM]

One thread, as Pillow has no more. With --tandem each size is measured in turns: Pillow, then `tandem bench` of the
same case on one worker, three times; the line then has both and their ratio. Pillow's own wheels are built with -O2 and
SSE2; the line names the version and whether it is the fork pillow-simd, which is faster and not on every machine.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

from script import start

import PIL
from PIL import Image

SIZES = [(640, 480, 224, 224), (256, 256, 224, 224), (128, 128, 224, 224)]  # as in bench/workload_data.c


def pillow_seconds(size, seconds):
    width, height, new_width, new_height = size
    image = Image.frombytes("RGB", (width, height), os.urandom(3 * width * height))
    image.resize((new_width, new_height), Image.BICUBIC)
    samples, stop = [], time.perf_counter() + seconds
    while len(samples) < 5 or time.perf_counter() < stop:
        start = time.perf_counter()
        image.resize((new_width, new_height), Image.BICUBIC)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def tandem_seconds(program, size):
    width, height, new_width, new_height = size
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([program, "bench", f"data/image/resize/{width}x{height}-{new_width}x{new_height}", "--layouts",
                        "p1xt1", "--min-time-ms", "300", "--no-report", "--out", out], check=True,
                       stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "records.jsonl"), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    times = [row["time_ns"]["p50"] for row in rows
             if row.get("case", "").startswith("data/image/resize") and row["status"] == "ok"]
    if not times:
        raise SystemExit(f"resize_peer: no record of {width} x {height}")
    return times[0] * 1e-9


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="of each timing")
    parser.add_argument("--tandem", help="the program, to measure in turns with Pillow")
    args = parser.parse_args()
    for size in SIZES:
        pillow, ours = [], []
        for _ in range(3):
            pillow.append(pillow_seconds(size, args.seconds))
            if args.tandem:
                ours.append(tandem_seconds(args.tandem, size))
        row = {"peer": "pillow", "version": PIL.__version__, "simd_fork": "post" in PIL.__version__,
               "width": size[0], "height": size[1], "new_width": size[2], "new_height": size[3],
               "pillow_us": round(statistics.median(pillow) * 1e6, 1)}
        if args.tandem:
            row["tandem_us"] = round(statistics.median(ours) * 1e6, 1)
            row["ratio"] = round(statistics.median(p / t for p, t in zip(pillow, ours)), 3)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    start(main)
