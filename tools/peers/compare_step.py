#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures a training step of Tandem against PyTorch's on the same pairs, batch and workers, and writes both as records.

usage: build/peers/bin/python tools/peers/compare_step.py --data SHARDS --out DIR [--case ID]... [--rounds N] ...

Each round runs Tandem, PyTorch eager and PyTorch compiled, each in a process of its own and another one first in every
round, so that a slow minute of the machine meets all of them; samples of a program's rounds are pooled. The first pairs
of SHARDS, four batches of them, become the data set of both: Tandem's loader keeps them decoded, PyTorch's lie in
memory. Peak memory is the maximum resident set of a training run of a few steps. DIR/records.jsonl holds Tandem's
records and PyTorch's of the same case and layout, provider "pytorch", with max_rss_bytes; it is written after every
case, and `tandem report DIR` shows them together. A line a program and a last line with the ratio to the faster form of
PyTorch go to standard output, progress to standard error. A case that cannot be measured is named and the others go on.

exit: 0 all cases were measured, 2 usage, 3 one or more were not. A case of three rounds takes two to eight minutes;
the compiled form spends up to a minute of each round compiling.
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
import time

from script import fail, progress, start, write_records

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = {"vit-s-32-alt": "ViT-S-32-alt", "vit-s-16-alt": "ViT-S-16-alt", "vit-b-32": "ViT-B-32",
          "vit-b-16": "ViT-B-16"}
CASES = ["step/clip/vit-s-32-alt/b64-f32", "step/clip/vit-b-32/b32-f32", "step/clip/vit-s-16-alt/b16-f32",
         "step/clip/vit-b-16/b8-f32", "step/siglip/vit-s-32-alt/b64-f32-padded", "step/siglip/vit-b-32/b32-f32-padded",
         "step/siglip/vit-s-16-alt/b16-f32-padded", "step/siglip/vit-b-16/b8-f32-padded",
         "step/clip/vit-s-32-alt/b64-bf16", "step/clip/vit-b-32/b32-bf16"]
CASE = re.compile(r"step/(clip|siglip)/([a-z0-9-]+)/b(\d+)-(f32|bf16-amx|bf16)(-padded|-whole)?$")
FORMS = {None: [], "-padded": ["--pack", "off"], "-whole": ["--pack", "off", "--prune", "off"]}
ALLOCATORS = ["/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
              "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2"]


class Unmeasured(Exception):
    """Why a case was not measured."""


def default_cases():
    """bf16 by what the CPU multiplies fastest: tiles where it has them, as PyTorch does."""
    with open("/proc/cpuinfo", encoding="ascii") as file:
        tiles = "amx_bf16" in file.read()
    return [case + "-amx" if tiles and case.endswith("-bf16") else case for case in CASES]


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
        raise Unmeasured(f"{shards} has {count - left} pairs; expected {count}")


def run(command, env, args):
    """Its standard output."""
    command = shlex.split(args.run_with) + [str(word) for word in command]
    if args.verbose:
        print("  " + shlex.join(command), file=sys.stderr)
    process = subprocess.Popen(command, env=dict(os.environ, **env), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    out, err = process.communicate()
    if process.returncode != 0:
        raise Unmeasured(f"{shlex.join(command)} ended with {process.returncode}:\n{err.strip()[-2000:]}")
    return out


def run_tandem(case, args, folder, data):
    out = folder / "tandem"
    shutil.rmtree(out, ignore_errors=True)
    run([args.tandem, "bench", case, "--layouts", args.layout, "--data", data, "--samples", args.samples, "--no-report",
         "--out", out], {}, args)
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    rows = [r for r in lines if r.get("case") == case and r.get("layout") == args.layout]
    if len(rows) != 1 or rows[0]["status"] != "ok":
        raise Unmeasured(f"{case} on {args.layout}: {rows[0].get('reason') if rows else 'no such case'}")
    return lines, rows[0]


def tandem_memory(case, args, data):
    loss, model, batch, precision, form = CASE.match(case).groups()
    code = ("import os, subprocess, resource, sys; s = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)."
            "returncode; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024); sys.exit(s)")
    words = [sys.executable, "-c", code, args.tandem, "train", "--model", model, "--loss",
             "sigmoid" if loss == "siglip" else "softmax", "--batch", batch, "--steps", 4, "--layout", args.layout,
             "--precision", precision, "--data", data, "--holdout", 0] + FORMS[form]
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
             "--precision", precision.split("-")[0], "--mode", mode, "--data", data, "--threads", args.workers,
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


def in_turns(programs, rounds, what):
    """Runs each program once a round, another one first each time; what each gave, by name."""
    results = {name: [] for name in programs}
    names = list(programs)
    for i in range(rounds):
        for k in range(len(names)):
            name = names[(i + k) % len(names)]
            start = time.monotonic()
            results[name].append(programs[name]())
            progress(f"{what}, round {i + 1} of {rounds}: {name}, {time.monotonic() - start:.0f} s")
    return results


def compare(case, args, out):
    batch = int(CASE.match(case).group(3))
    data = out / f"pairs-{4 * batch}"
    try:
        take_pairs(args.data, 4 * batch, data)
        programs = {"tandem": lambda: run_tandem(case, args, out, data)}
        for mode in args.modes.split(","):
            programs[f"pytorch {mode}"] = lambda mode=mode: run_torch(case, mode, args, data)
        results = in_turns(programs, args.rounds, case)
        own = results.pop("tandem")
        first = pool(own[0][1], [s for _, row in own for s in row["samples_ns"]], batch)
        first["max_rss_bytes"] = tandem_memory(case, args, data)
        peers = [torch_row(first, runs, args) for runs in results.values()]
        for row in peers if "mfu" in own[0][1] else []:
            row["mfu"] = own[0][1]["mfu"] * own[0][1]["time_ns"]["p50"] / row["time_ns"]["p50"]
        return own[-1][0], [first] + peers
    finally:
        shutil.rmtree(data, ignore_errors=True)


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
          f"{own['max_rss_bytes'] / least:.2f} of PyTorch's least memory", flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of TFRecord shards, as `tandem data import` writes")
    parser.add_argument("--out", required=True, help="folder for records.jsonl")
    parser.add_argument("--case", action="append",
                        help="a step case of `tandem list cases 'step/*'` in f32, bf16 or bf16-amx, plain, -padded or "
                             "-whole; may be repeated; default: " + ", ".join(default_cases()))
    parser.add_argument("--layout", default=f"p1xt{len(os.sched_getaffinity(0))}", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=3, help="timed steps of a round; default: %(default)s")
    parser.add_argument("--modes", default="eager,compile", help="of PyTorch; default: %(default)s")
    parser.add_argument("--tandem", default=str(ROOT / "build/release/tandem"), help="default: %(default)s")
    parser.add_argument("--python", default=sys.executable, help="one that has torch and open_clip; default: this one")
    parser.add_argument("--run-with", default="", help="a command that runs each program, as `chrt -r 10`")
    parser.add_argument("--verbose", action="store_true", help="print every command")
    args = parser.parse_args()
    found = re.match(r"p1xt(\d+)$", args.layout)
    args.workers = int(found.group(1)) if found else fail(f"--layout {args.layout}; expected p1xt<workers>", 2)
    if min(args.rounds, args.samples) < 1:
        fail("--rounds and --samples; expected at least 1", 2)
    for mode in args.modes.split(","):
        if mode not in ("eager", "compile"):
            fail(f"--modes {args.modes}; expected eager, compile or both", 2)
    args.case = args.case or default_cases()
    for case in args.case:
        found = CASE.match(case)
        if not found or found.group(2) not in MODELS:
            fail(f"--case {case}; expected one that --help describes, of {', '.join(MODELS)}", 2)
    return args


def main():
    args = parse()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    header, written, unmeasured = None, [], 0
    for number, case in enumerate(args.case):
        progress(f"case {number + 1} of {len(args.case)}: {case}")
        try:
            lines, rows = compare(case, args, out)
        except Unmeasured as reason:
            progress(f"{case} was not measured: {reason}")
            unmeasured += 1
            continue
        if header is None:
            header = [r for r in lines if "machine" in r or r.get("case", "").startswith("ceiling/")]
        written += rows
        write_records(out, header + written)
        show(rows)
    sys.exit(3 if unmeasured > 0 else 0)


if __name__ == "__main__":
    start(main)
