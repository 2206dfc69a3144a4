#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Tandem's attention against PyTorch's scaled_dot_product_attention, in turns, and writes both as records.

usage: build/peers/bin/python tools/peers/sdpa_peer.py --out DIR [--threads N] [--rounds N] [--shape TEXT]...

Each round runs Tandem's forward and backward cases, then PyTorch's, one process at a time, so that a slow minute meets
both; samples of the rounds are pooled. PyTorch gets packed qkv in f32 as its models do, as many threads as the layout
has workers, denormals flushed, the tensors of earlier calls for its allocator to use again, and the fastest of its
CPU backends that takes the shape (flash, math). Its backward alone is timed for the record of that case; for the ratio
of both it runs forward and backward together. The output and gradients of both are not compared here: tandem's are
proved in its run, and `tandem train --verify` compares whole steps.

DIR/records.jsonl holds Tandem's records and PyTorch's of the same cases and layout, provider "pytorch"; `tandem report
DIR` shows them. Members of PyTorch's: `settings`, and `both_ns` and `times_both` (PyTorch's time for forward and
backward over Tandem's, the median over rounds) in the record of the backward case.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import time

from script import fail, start, write_records

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPES = {  # of kernel_example_shapes.inc: sequences, heads, size of a head, tokens, causal
    "s32-h12-d64-q50-k50": (32, 12, 64, 50, False),
    "s32-h12-d64-q64-k64": (32, 12, 64, 64, False),
    "s32-h8-d64-q77-k77-causal": (32, 8, 64, 77, True),
    "s32-h12-d64-q197-k197": (32, 12, 64, 197, False),
    "s8-h16-d64-q257-k257": (8, 16, 64, 257, False),
}
OPERATIONS = ("attention_f32", "attention_grad_f32")


def torch_times(shape, threads, seconds):
    """In a process of its own: nanoseconds of forward, backward alone, and both, of the fastest backend."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    seqs, heads, head, n, causal = SHAPES[shape]
    qkv = torch.randn(seqs, n, 3, heads, head, requires_grad=True)
    gradient = torch.randn(seqs, n, heads, head)

    def forward():
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        return scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)

    def times(run, prepare=lambda: None):
        run(prepare())
        samples, stop = [], time.perf_counter() + seconds
        while len(samples) < 7 or (time.perf_counter() < stop and len(samples) < 100):
            given = prepare()
            start = time.perf_counter_ns()
            run(given)
            samples.append(time.perf_counter_ns() - start)
        return samples

    def alone(_):
        with torch.no_grad():
            forward()

    def both(_):
        qkv.grad = None
        forward().backward(gradient)

    def fresh():
        qkv.grad = None
        return forward()

    tried = {}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
        try:
            with sdpa_kernel(backend):
                tried[backend.name] = {"forward": times(alone), "both": times(both),
                                       "backward": times(lambda o: o.backward(gradient), fresh)}
        except RuntimeError:
            continue  # this backend does not take the shape
    best = min(tried, key=lambda name: statistics.median(tried[name]["both"]))
    return dict(tried[best], version=torch.__version__,
                settings={"threads": threads, "backend": best, "flush_denormal": True,
                          "cpu_capability": torch.backends.cpu.get_cpu_capability(),
                          "tried_both_us": {name: statistics.median(t["both"]) / 1e3 for name, t in tried.items()}})


def run(words, args):
    process = subprocess.run(shlex.split(args.run_with) + [str(word) for word in words], capture_output=True, text=True,
                             env=dict(os.environ, THP_MEM_ALLOC_ENABLE="1"), check=False)
    if process.returncode != 0:
        fail(f"{shlex.join(str(w) for w in words)} ended with {process.returncode}:\n{process.stderr[-2000:]}")
    return process.stdout


def run_tandem(shape, args, folder):
    """All lines of a run of both cases, and the records of the row in use."""
    shutil.rmtree(folder, ignore_errors=True)
    run([args.tandem, "bench", f"kernel/attention*f32/*/{shape}", "--suite", "full", "--layouts", f"p1xt{args.threads}",
         "--min-time-ms", int(args.seconds * 1000), "--no-report", "--out", folder], args)
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    rows = []
    for operation in OPERATIONS:
        found = [r for r in lines if r.get("case", "").startswith(f"kernel/{operation}/") and r["status"] == "ok"
                 and r["provider"] == "tandem"]
        if not found:
            fail(f"no record of kernel/{operation} on {shape}")
        rows.append(min(found, key=lambda r: r["time_ns"]["p50"]))
    return lines, rows


def pool(row, samples):
    ordered = sorted(samples)
    middle = statistics.median(ordered)
    at = lambda q: ordered[round(q * (len(ordered) - 1))]
    times = {"min": ordered[0], "p50": middle, "p95": at(0.95), "p99": at(0.99), "max": ordered[-1],
             "mad": statistics.median(abs(s - middle) for s in ordered), "n": len(ordered)}
    unit = row["unit"]
    return dict(row, value=row["flops" if unit == "GFLOP/s" else "bytes"] / middle, time_ns=times, samples_ns=samples)


def torch_row(like, samples, runs, args):
    row = {"schema": 1, "case": like["case"], "layout": like["layout"], "isa": runs[0]["settings"]["cpu_capability"],
           "provider": "pytorch", "provider_version": runs[0]["version"], "status": "ok", "unit": like["unit"],
           "lower_is_better": False, "flops": like["flops"], "bytes": like["bytes"], "ceilings": [],
           "check": {"ok": True, "method": "none: a peer's time"}, "noise": {}, "settings": runs[0]["settings"],
           "command": f"tools/peers/sdpa_peer.py --threads {args.threads} --out {args.out}"}
    return pool(row, samples)


def compare(shape, args):
    own, peers, ratios = [], [], []
    folder = pathlib.Path(args.out) / "tandem"
    for _ in range(args.rounds):
        lines, rows = run_tandem(shape, args, folder)
        own.append(rows)
        peers.append(json.loads(run([sys.executable, __file__, "--time", shape, "--threads", args.threads,
                                     "--seconds", args.seconds, "--out", args.out], args).splitlines()[-1]))
        ratios.append(statistics.median(peers[-1]["both"]) / sum(r["time_ns"]["p50"] for r in rows))
    shutil.rmtree(folder)
    written = []
    for i, part in enumerate(("forward", "backward")):
        written.append(pool(own[0][i], [s for rows in own for s in rows[i]["samples_ns"]]))
        written.append(torch_row(own[0][i], [s for p in peers for s in p[part]], peers, args))
    forward, torch_forward, backward, torch_backward = written
    torch_backward["both_ns"] = statistics.median(s for p in peers for s in p["both"])
    torch_backward["times_both"] = statistics.median(ratios)
    print(f"{shape} p1xt{args.threads}: forward {torch_forward['time_ns']['p50'] / forward['time_ns']['p50']:.2f}, "
          f"backward {torch_backward['time_ns']['p50'] / backward['time_ns']['p50']:.2f}, both "
          f"{torch_backward['times_both']:.2f} times pytorch {peers[0]['version']} "
          f"({peers[0]['settings']['backend'].lower()})", flush=True)
    return [r for r in lines if "machine" in r or r.get("case", "").startswith("ceiling/")], written


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="a folder for the records")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, and workers of Tandem")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each timing")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="default: all")
    parser.add_argument("--tandem", default=str(ROOT / "build/release/tandem"))
    parser.add_argument("--run-with", default="", help="a command that runs each program, as `chrt -r 10`")
    parser.add_argument("--time", choices=SHAPES, help="only print PyTorch's times of a shape, as JSON")
    args = parser.parse_args()
    if args.threads < 1 or args.rounds < 1 or args.seconds <= 0:
        parser.error("--threads, --rounds: expected at least 1; --seconds: above 0")
    if args.time:
        print(json.dumps(torch_times(args.time, args.threads, args.seconds)))
        return
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    header, written = None, []
    for shape in args.shape or SHAPES:
        first, rows = compare(shape, args)
        header = header or first
        written += rows
        write_records(out, header + written)


if __name__ == "__main__":
    start(main)
