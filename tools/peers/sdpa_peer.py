#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attention in PyTorch on the shapes of tandem's attention cases: one JSON line a shape.

    build/peers/bin/python tools/peers/sdpa_peer.py [--threads N] [--seconds S] [--tandem PROGRAM]

Times scaled_dot_product_attention forward, and forward with backward, in f32 on packed qkv. With
--tandem each shape is measured in turns: torch, then `tandem bench` of the same case, three times;
the line then has both and their ratio.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

SHAPES = [  # sequences, heads, size of a head, tokens, causal: as in kernel_example_shapes.inc
    (32, 12, 64, 50, False),
    (32, 12, 64, 64, False),
    (32, 8, 64, 77, True),
    (32, 12, 64, 197, False),
    (8, 16, 64, 257, False),
]


def torch_seconds(shape, seconds):
    seqs, heads, head, n, causal = shape
    qkv = torch.randn(seqs, n, 3, heads, head, requires_grad=True)
    gradient = torch.randn(seqs, heads, n, head)

    def forward():
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        return scaled_dot_product_attention(q, k, v, is_causal=causal)

    def both():
        qkv.grad = None
        forward().backward(gradient)

    def best_of(run):
        run()
        samples, stop = [], time.perf_counter() + seconds
        while len(samples) < 5 or time.perf_counter() < stop:
            start = time.perf_counter()
            run()
            samples.append(time.perf_counter() - start)
        return statistics.median(samples)

    with torch.no_grad():
        alone = best_of(forward)
    return alone, best_of(both)


def tandem_seconds(program, shape, threads):
    seqs, heads, head, n, causal = shape
    name = f"s{seqs}-h{heads}-d{head}-q{n}-k{n}" + ("-causal" if causal else "")
    took = []
    for operation in ("attention_f32", "attention_grad_f32"):
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([program, "bench", f"kernel/{operation}/*/{name}", "--suite", "full",
                            "--layouts", f"p1xt{threads}", "--min-time-ms", "300", "--no-report",
                            "--out", out], check=True, stdout=subprocess.DEVNULL)
            with open(os.path.join(out, "records.jsonl"), encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
        times = [row["time_ns"]["p50"] for row in rows
                 if row.get("case", "").startswith("kernel/") and row["status"] == "ok"]
        if not times:
            raise SystemExit(f"sdpa_peer: no record of kernel/{operation} on {name}")
        took.append(min(times) * 1e-9)
    return took[0], sum(took)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each timing")
    parser.add_argument("--tandem", help="the program, to measure in turns with torch")
    args = parser.parse_args()
    if args.threads < 1:
        parser.error("--threads: expected at least 1")
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    for shape in SHAPES:
        rounds = []
        for _ in range(3):
            line = dict(zip(("torch_forward", "torch_both"), torch_seconds(shape, args.seconds)))
            if args.tandem:
                ours = tandem_seconds(args.tandem, shape, args.threads)
                line.update(zip(("tandem_forward", "tandem_both"), ours))
            rounds.append(line)
        row = {"peer": "sdpa", "torch": torch.__version__, "threads": args.threads,
               "seqs": shape[0], "heads": shape[1], "head": shape[2], "tokens": shape[3],
               "causal": shape[4]}
        for key in rounds[0]:
            row[key + "_us"] = round(statistics.median(r[key] for r in rounds) * 1e6, 1)
        if args.tandem:
            ratios = [r["torch_both"] / r["tandem_both"] for r in rounds]
            row["ratio_both"] = round(statistics.median(ratios), 3)
            ratios = [r["torch_forward"] / r["tandem_forward"] for r in rounds]
            row["ratio_forward"] = round(statistics.median(ratios), 3)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
