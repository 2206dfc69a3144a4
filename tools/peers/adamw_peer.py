#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""AdamW in PyTorch, fused and as a loop over tensors, over the parameters of a ViT-B/32 CLIP: one
JSON line a form. With --tandem, kernel/adamw_f32 at the same size and number of workers runs in turns
with them, and each line says how many times faster it is and what share of its own mix of loads and
stores it reaches.

    build/peers/bin/python tools/peers/adamw_peer.py [--threads N] [--parameters N] [--tandem FILE]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from script import start

import torch

FORMS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "for_loop": {"foreach": False}}


def parameters_of(total):
    """Tensors of a transformer's sizes that add up to `total` floats."""
    block = [(2304, 768), (2304,), (768, 768), (768,), (3072, 768), (3072,), (768, 3072), (768,)]
    shapes, left = [], total
    while left > 0:
        for shape in block:
            size = min(torch.Size(shape).numel(), left)
            if size > 0:
                shapes.append(shape if size == torch.Size(shape).numel() else (size,))
                left -= size
    return [torch.nn.Parameter(torch.randn(shape) * 0.02) for shape in shapes]


def torch_seconds(parameters, form, steps):
    """Seconds of each of `steps` steps, after one that makes the state."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.2, **form)
    optimizer.step()
    samples = []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.step()
        samples.append(time.perf_counter() - start)
    return samples


def record_of(program, case, threads, steps):
    """The record of a case; none when it cannot run here."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "run")
        subprocess.run([program, "bench", case, "--layouts", f"p1xt{threads}", "--samples",
                        str(steps), "--no-report", "--out", out], stdout=subprocess.DEVNULL,
                       check=False)
        with open(os.path.join(out, "records.jsonl"), encoding="utf-8") as file:
            for record in map(json.loads, file):
                if record.get("case") == case and record["status"] == "ok":
                    return record
    return None


def tandem_record(program, threads, total, steps):
    """Of the case of that size on the best row that runs here."""
    listed = subprocess.run([program, "list", "cases", "kernel/adamw_f32/*"], capture_output=True,
                            text=True, check=True).stdout.split()
    for case in listed:
        if f"/n{total}-" in case and not case.endswith("-denormal"):
            record = record_of(program, case, threads, steps)
            if record:
                return record
    sys.exit(f"adamw_peer: {program} measured no kernel/adamw_f32 case of n{total}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parameters", type=int, default=151_277_313)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tandem", help="the program, to run in turns")
    args = parser.parse_args()
    if min(args.threads, args.parameters, args.steps, args.rounds) < 1:
        parser.error("--threads, --parameters, --steps, --rounds: expected at least 1")
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    parameters = parameters_of(args.parameters)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    samples = {name: [] for name in FORMS}
    own, shares, ratios = [], [], {name: [] for name in FORMS}
    for _ in range(args.rounds):
        for name, form in FORMS.items():
            samples[name].append(statistics.median(torch_seconds(parameters, form, args.steps)))
        if args.tandem:
            record = tandem_record(args.tandem, args.threads, args.parameters, args.steps)
            own.append(record["time_ns"]["p50"] * 1e-9)
            shares.append(record["share_beside"])
            for name in FORMS:
                ratios[name].append(samples[name][-1] / own[-1])
    for name in FORMS:
        seconds = statistics.median(samples[name])
        line = {"peer": "adamw", "form": name, "torch": torch.__version__, "threads": args.threads,
                "parameters": args.parameters, "ms": round(seconds * 1e3, 2),
                "gb_per_s": round(28 * args.parameters / seconds / 1e9, 2)}
        if args.tandem:
            line["tandem_ms"] = round(statistics.median(own) * 1e3, 2)
            line["tandem_share_of_its_mix"] = round(statistics.median(shares), 3)
            line["tandem_times_faster"] = round(statistics.median(ratios[name]), 3)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    start(main)
