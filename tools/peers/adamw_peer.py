#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""AdamW in PyTorch, fused and as a loop over tensors, over the parameters of a ViT-B/32 CLIP: one
JSON line a form. Compare with kernel/adamw_f32 at the same size and number of workers.

    build/peers/bin/python tools/peers/adamw_peer.py [--threads N] [--parameters N]
"""
import argparse
import json
import statistics
import time

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parameters", type=int, default=151_277_313)
    parser.add_argument("--steps", type=int, default=7)
    args = parser.parse_args()
    if min(args.threads, args.parameters, args.steps) < 1:
        parser.error("--threads, --parameters, --steps: expected at least 1")
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    parameters = parameters_of(args.parameters)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    for name, form in FORMS.items():
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.2, **form)
        optimizer.step()
        samples = []
        for _ in range(args.steps):
            start = time.perf_counter()
            optimizer.step()
            samples.append(time.perf_counter() - start)
        seconds = statistics.median(samples)
        print(json.dumps({"peer": "adamw", "form": name, "torch": torch.__version__,
                          "threads": args.threads, "parameters": args.parameters,
                          "ms": round(seconds * 1e3, 2),
                          "gb_per_s": round(28 * args.parameters / seconds / 1e9, 2)}), flush=True)
        del optimizer


if __name__ == "__main__":
    main()
