#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One training step of an open_clip model on CPU by PyTorch at its best, timed. Prints one line of JSON.

usage: build/peers/bin/python tools/peers/torch_step.py --model NAME --batch N --data DIR [--mode eager|compile] ...

A step is forward, loss, backward and AdamW, as open_clip trains: default initialisation, no clipping, gradients set to
None. Captions are padded to the context, because that is what open_clip computes. Batches lie decoded and tokenised in
memory before the first step, so the data path costs nothing. Settings: fused AdamW, denormals flushed, THP for tensors
where the environment asks for it; before timing, channels_last images and every thread count up to --threads are
tried and the fastest is kept. Allocator and huge pages are the environment's: compare_step.py sets them.
"""
import argparse
import json
import math
import os
import pathlib
import resource
import struct
import sys
import time
import warnings

from script import fail, start

try:
    import io

    import open_clip
    import torch
    from PIL import Image
except ImportError as error:
    fail(f"{error}; `make peers` builds an environment that has it")


def fields(data):
    """(number, bytes) of every length-delimited field of a protocol buffer message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 != 2:
            raise ValueError("a field that an Example of bytes does not have")
        size = varint()
        yield tag >> 3, data[at:at + size]
        at += size


def read_records(folder):
    """The features of every record of a folder of TFRecord shards, in order."""
    for path in sorted(pathlib.Path(folder).glob("*.tfrecord")):
        with open(path, "rb") as stream:
            while header := stream.read(12):
                record = stream.read(struct.unpack("<Q", header[:8])[0])
                stream.read(4)
                features = {}
                for _, entry in (e for _, f in fields(record) for e in fields(f)):
                    entry = dict(fields(entry))
                    values = dict(fields(entry[2])).get(1, b"")
                    features[entry[1].decode()] = dict(fields(values)).get(1, b"")
                yield features


def load_batches(args, model_size):
    transform = open_clip.image_transform(model_size, is_train=False)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    images, texts = [], []
    for features in read_records(args.data):
        images.append(transform(Image.open(io.BytesIO(features["image/encoded"])).convert("RGB")))
        texts.append(features["caption"].decode())
        if len(images) == args.batches * args.batch:
            break
    if len(images) < args.batch:
        sys.exit(f"torch_step: {args.data} has {len(images)} pairs; expected at least {args.batch}")
    n = len(images) // args.batch
    tokens = tokenizer(texts, context_length=args.context)
    return [(torch.stack(images[i * args.batch:(i + 1) * args.batch]),
             tokens[i * args.batch:(i + 1) * args.batch].contiguous()) for i in range(n)]


class Trainer:
    def __init__(self, args):
        torch.manual_seed(1)
        siglip = args.loss == "siglip"
        config = open_clip.get_model_config(args.model)
        if config is None:
            sys.exit(f"torch_step: open_clip has no model {args.model}")
        self.model = open_clip.CLIP(**config, init_logit_bias=-10.0 if siglip else None,
                                    init_logit_scale=math.log(10) if siglip else math.log(1 / 0.07)).train()
        self.loss_of = open_clip.loss.SigLipLoss() if siglip else open_clip.loss.ClipLoss()
        named = list(self.model.named_parameters())
        self.optimizer = torch.optim.AdamW(
            [{"params": [p for n, p in named if p.ndim < 2], "weight_decay": 0.0},
             {"params": [p for n, p in named if p.ndim >= 2], "weight_decay": 0.2}],
            lr=5e-6, betas=(0.9, 0.98), eps=1e-6, fused=True)
        self.bf16 = args.precision == "bf16"
        self.forward = torch.compile(self.compute, dynamic=False) if args.mode == "compile" else self.compute

    def compute(self, images, tokens):
        return self.loss_of(*self.model(images, tokens))

    def step(self, images, tokens):
        start = time.perf_counter_ns()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.forward(images, tokens)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        return time.perf_counter_ns() - start, float(loss.detach())


def choose(trainer, batches, args):
    """Tries what can be tried after the model is built; returns the fastest settings, which stay set."""
    tried = {}
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    counts = [args.threads] if args.mode == "compile" else list(range(1, args.threads + 1))
    for threads in counts:
        for name in formats if threads == args.threads and args.mode == "eager" else ("contiguous",):
            torch.set_num_threads(threads)
            images, tokens = batches[0]
            images = images.contiguous(memory_format=formats[name])
            trainer.step(images, tokens)
            tried[f"{threads} threads, {name}"] = trainer.step(images, tokens)[0] / 1e6
    best = min(tried, key=tried.get)
    torch.set_num_threads(int(best.split()[0]))
    chosen = formats[best.split(", ")[1]]
    return tried, best, [(i.contiguous(memory_format=chosen), t) for i, t in batches]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="an open_clip model name")
    parser.add_argument("--data", required=True, help="a folder of TFRecord shards of pairs")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--loss", choices=("clip", "siglip"), default="clip")
    parser.add_argument("--mode", choices=("eager", "compile"), default="eager")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--context", type=int, default=77)
    parser.add_argument("--steps", type=int, default=3, help="timed ones")
    parser.add_argument("--batches", type=int, default=4, help="different batches, used in turn")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    torch.set_flush_denormal(True)
    torch.set_num_threads(args.threads)
    trainer = Trainer(args)
    batches = load_batches(args, trainer.model.visual.image_size)
    warm = time.perf_counter()
    tried, best, batches = choose(trainer, batches, args)
    warm = time.perf_counter() - warm
    samples, losses = zip(*(trainer.step(*batches[i % len(batches)]) for i in range(args.steps)))
    if not all(math.isfinite(loss) for loss in losses):
        sys.exit(f"torch_step: the losses are {losses}")
    print(json.dumps({
        "provider_version": f"{torch.__version__} {args.mode}", "model": args.model, "loss": args.loss,
        "mode": args.mode, "precision": args.precision, "batch": args.batch, "samples_ns": samples, "losses": losses,
        "settings": {"chosen": best, "tried_ms": tried, "optimizer": "AdamW, fused", "flush_denormal": True,
                     "preload": os.environ.get("LD_PRELOAD", ""), "thp": os.environ.get("THP_MEM_ALLOC_ENABLE", ""),
                     "cpu_capability": torch.backends.cpu.get_cpu_capability(),
                     "mkldnn": torch.backends.mkldnn.is_available(), "open_clip": open_clip.__version__,
                     "config": torch.__config__.show().replace("\n", " ")},
        "warmup_s": warm, "max_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)


if __name__ == "__main__":
    start(main)
