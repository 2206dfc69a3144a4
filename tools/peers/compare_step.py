#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures a training step of Tandem against PyTorch's on the same pairs, batch and workers, and writes both as records.

usage: build/peers/bin/python tools/peers/compare_step.py --data SHARDS --out DIR [--case ID]... [--rounds N] ...

Each round runs Tandem, PyTorch eager and PyTorch compiled one after the other, each in a process of its own, so that
a slow minute of the machine meets all of them; samples of a program's rounds are pooled. The first pairs of SHARDS,
four batches of them, become the data set of both: Tandem's loader keeps them decoded, PyTorch's lie in memory. Peak
memory is the maximum resident set of a training run of a few steps. DIR/records.jsonl holds Tandem's records and
PyTorch's of the same case and layout, provider "pytorch", with max_rss_bytes; `tandem report DIR` shows them together.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import statistics
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = {"vit-s-32-alt": "ViT-S-32-alt", "vit-s-16-alt": "ViT-S-16-alt", "vit-b-32": "ViT-B-32",
          "vit-b-16": "ViT-B-16"}
CASES = ["step/clip/vit-s-32-alt/b64-f32", "step/clip/vit-b-32/b32-f32", "step/clip/vit-s-16-alt/b16-f32",
         "step/clip/vit-b-16/b8-f32", "step/siglip/vit-s-32-alt/b64-f32-padded", "step/siglip/vit-b-32/b32-f32-padded",
         "step/siglip/vit-s-16-alt/b16-f32-padded", "step/siglip/vit-b-16/b8-f32-padded",
         "step/clip/vit-s-32-alt/b64-bf16", "step/clip/vit-b-32/b32-bf16"]
CASE = re.compile(r"step/(clip|siglip)/([a-z0-9-]+)/b(\d+)-(f32|bf16)(-[a-z0-9]+)?$")
ALLOCATORS = ["/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
              "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2"]


def fail(message, status=3):
    print(f"compare_step: {message}", file=sys.stderr)
    sys.exit(status)


def take_pairs(shards, count, folder):
    """The first records of the shards as one shard."""
    folder.mkdir(parents=True, exist_ok=True)
    left = count
    with open(folder / "pairs-00000-of-00001.tfrecord", "wb") as out:
        for path in sorted(pathlib.Path(shards).glob("*.tfrecord")):
            with open(path, "rb") as stream:
                while left > 0 and (header := stream.read(12)):
                    out.write(header + stream.read(struct.unpack("<Q", header[:8])[0] + 4))
                    left -= 1
    if left > 0:
        fail(f"{shards} has {count - left} pairs; expected {count}")


def run(command, env, args):
    """Standard output and the largest resident set of the process and its children, in bytes."""
    command = shlex.split(args.run_with) + [str(word) for word in command]
    if args.verbose:
        print("  " + shlex.join(command), file=sys.stderr)
    process = subprocess.Popen(command, env=dict(os.environ, **env), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    out, err = process.communicate()
    if process.returncode != 0:
        fail(f"{shlex.join(command)} ended with {process.returncode}:\n{err.strip()[-2000:]}")
    return out


def run_tandem(case, args, folder, data):
    out = folder / "tandem"
    shutil.rmtree(out, ignore_errors=True)
    run([args.tandem, "bench", case, "--layouts", args.layout, "--data", data, "--samples", args.samples, "--no-report",
         "--out", out], {}, args)
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    rows = [r for r in lines if r.get("case") == case and r.get("layout") == args.layout]
    if len(rows) != 1 or rows[0]["status"] != "ok":
        fail(f"{case} on {args.layout}: {rows[0].get('reason') if rows else 'no such case'}")
    return lines, rows[0]


def tandem_memory(case, args, data):
    loss, model, batch, precision, _ = CASE.match(case).groups()
    code = ("import os, subprocess, resource, sys; s = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)."
            "returncode; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024); sys.exit(s)")
    words = [sys.executable, "-c", code, args.tandem, "train", "--model", model, "--loss",
             "sigmoid" if loss == "siglip" else "softmax", "--batch", batch, "--steps", 4, "--layout", args.layout,
             "--precision", precision, "--data", data, "--holdout", 0]
    if loss == "siglip":
        words += ["--pack", "off"]
    return int(run(words, {}, args))


def torch_environment():
    """What makes PyTorch's allocations cheap: an allocator that keeps memory, and huge pages."""
    env = {"THP_MEM_ALLOC_ENABLE": "1"}
    found = [path for path in ALLOCATORS if os.path.exists(path)]
    if found:
        env.update(LD_PRELOAD=found[0], MALLOC_CONF="thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1")
    else:
        env.update(MALLOC_MMAP_THRESHOLD_="4294967296", MALLOC_TRIM_THRESHOLD_="4294967296",
                   GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
    return env


def run_torch(case, mode, args, data):
    loss, model, batch, precision, _ = CASE.match(case).groups()
    words = [args.python, ROOT / "tools/peers/torch_step.py", "--model", MODELS[model], "--loss", loss, "--batch", batch,
             "--precision", precision, "--mode", mode, "--data", data, "--threads", args.workers,
             "--steps", args.samples]
    return json.loads(run(words, torch_environment(), args).splitlines()[-1])


def summary(samples):
    ordered = sorted(samples)
    at = lambda q: ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]
    middle = statistics.median(ordered)
    return {"min": ordered[0], "p50": middle, "p95": at(0.95), "p99": at(0.99), "max": ordered[-1],
            "mad": statistics.median(abs(s - middle) for s in ordered), "n": len(ordered)}


def pool(row, samples, batch):
    """The record with all samples of its rounds."""
    times = summary(samples)
    return dict(row, value=batch * 1e9 / times["p50"], unit="pairs/s", time_ns=times, samples_ns=samples,
                median_interval_ns={"low": times["min"], "high": times["max"],
                                    "confidence": 1 - 2 * 0.5 ** len(samples)})


def torch_row(like, runs, args):
    batch = int(CASE.match(like["case"]).group(3))
    row = {"schema": 1, "case": like["case"], "layout": like["layout"], "isa": runs[0]["settings"]["cpu_capability"],
           "provider": "pytorch", "provider_version": runs[0]["provider_version"], "status": "ok",
           "lower_is_better": False, "flops": like["nominal_flops"], "ceilings": like.get("ceilings", []),
           "check": {"ok": True, "method": "finite losses; tandem train --verify compares steps"},
           "noise": {}, "settings": runs[0]["settings"], "nominal_flops": like["nominal_flops"],
           "max_rss_bytes": max(r["max_rss_bytes"] for r in runs),
           "command": f"tools/peers/compare_step.py --case {like['case']} --layout {args.layout}"}
    return pool(row, [s for r in runs for s in r["samples_ns"]], batch)


def compare(case, args, out):
    batch = int(CASE.match(case).group(3))
    data = out / f"pairs-{4 * batch}"
    take_pairs(args.data, 4 * batch, data)
    own, peers = [], {mode: [] for mode in args.modes.split(",")}
    for _ in range(args.rounds):
        lines, row = run_tandem(case, args, out, data)
        own.append(row)
        for mode, runs in peers.items():
            runs.append(run_torch(case, mode, args, data))
    first = pool(own[0], [s for r in own for s in r["samples_ns"]], batch)
    first["max_rss_bytes"] = tandem_memory(case, args, data)
    rows = [first] + [torch_row(first, runs, args) for runs in peers.values()]
    shutil.rmtree(data)
    return lines, rows


def show(rows):
    own = rows[0]
    print(f"{own['case']}  {own['layout']}")
    for row in rows:
        mfu = row["nominal_flops"] / row["time_ns"]["p50"]
        print(f"  {row['provider'] + ' ' + (row.get('provider_version') or ''):28} {row['value']:8.2f} pairs/s"
              f"  {mfu:7.1f} nominal GFLOP/s  {row['max_rss_bytes'] / 1e9:6.2f} GB", flush=True)
    fastest = max(rows[1:], key=lambda r: r["value"])
    least = min(r["max_rss_bytes"] for r in rows[1:])
    print(f"  {own['value'] / fastest['value']:.2f} times {fastest['provider']} {fastest['provider_version']}, "
          f"{own['max_rss_bytes'] / least:.2f} of its memory", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="TFRecord shards, as `tandem data import` writes them")
    parser.add_argument("--out", required=True, help="a folder for the records")
    parser.add_argument("--case", action="append", help="a step case of `tandem list`; default: ten of them")
    parser.add_argument("--layout", default=f"p1xt{len(os.sched_getaffinity(0))}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=3, help="timed steps of a round")
    parser.add_argument("--modes", default="eager,compile", help="of PyTorch, comma-separated")
    parser.add_argument("--tandem", default=str(ROOT / "build/release/tandem"))
    parser.add_argument("--python", default=sys.executable, help="one that has torch and open_clip")
    parser.add_argument("--run-with", default="", help="a command that runs each program, as `chrt -r 10`")
    parser.add_argument("--verbose", action="store_true", help="print every command")
    args = parser.parse_args()
    found = re.match(r"p1xt(\d+)$", args.layout)
    args.workers = int(found.group(1)) if found else fail(f"--layout {args.layout}; expected p1xt<workers>", 2)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for case in args.case or CASES:
        found = CASE.match(case)
        if not found or found.group(2) not in MODELS:
            fail(f"--case {case}; expected a step case of {', '.join(MODELS)}", 2)
    header, written = None, []
    for case in args.case or CASES:
        lines, rows = compare(case, args, out)
        if header is None:
            header = [r for r in lines if "machine" in r or r.get("case", "").startswith("ceiling/")]
        written += rows
        (out / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in header + written))
        show(rows)


if __name__ == "__main__":
    main()
