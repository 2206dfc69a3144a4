#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A few training steps by open_clip, written to a folder that `tandem train --verify DIR` checks itself against.

usage: build/peers/bin/python tools/peers/openclip_twin.py --model NAME|FILE.json --out DIR [--loss clip|siglip] ...
       build/peers/bin/python tools/peers/openclip_twin.py --renew DIR...    (what DIR/twin.json asks for, computed anew)

The folder gets config.json (the model, as open_clip or Tandem write it), optim.json (the optimizer and the loss),
weights.safetensors (before the first step), batch.safetensors (images and tokens: batch after batch, each step the
next), expected.safetensors (the loss of every step, gradients of the first, weights after the last) and twin.json (how all
that was made: arguments, this script's version, those of torch, open_clip and timm).

Weights start as open_clip starts them; --spread adds normal noise to gains and biases, which start at 1 and 0 and would
hide mistakes there. --float64 computes in float64 from the same float32 weights: the measure of rounding errors.
"""
import argparse
import json
import math
import pathlib
import sys

from script import fail, start

VERSION = "2"


try:
    import open_clip
    import timm
    import torch
    from open_clip.loss import ClipLoss, SigLipLoss
    from open_clip_train.scheduler import const_lr, cosine_lr
    from safetensors.torch import load_file, save_file
    from timm.models.vision_transformer import VisionTransformer
except ImportError as error:
    fail(f"{error}; `make peers` builds an environment that has it, then run build/peers/bin/python {sys.argv[0]}", 3)


class SiglipImageTower(torch.nn.Module):
    """timm's SigLIP trunk of any size; open_clip's own wrapper takes timm's named ones only."""

    def __init__(self, vision):
        super().__init__()
        width = vision["width"]
        self.trunk = VisionTransformer(
            img_size=vision["image_size"], patch_size=vision["patch_size"], embed_dim=width, depth=vision["layers"],
            num_heads=width // vision.get("head_width", 64), mlp_ratio=vision.get("mlp_ratio", 4.0), num_classes=0,
            class_token=False, global_pool="map", act_layer=gelu_of(vision))

    def forward(self, images):
        return self.trunk(images)


def gelu_of(tower):
    kwargs = tower.get("act_kwargs") or {}
    return lambda: torch.nn.GELU(**kwargs)


def read_config(name):
    """The configuration as a dict: a file's, or one of open_clip's."""
    if name.endswith(".json"):
        try:
            config = json.loads(pathlib.Path(name).read_text())
        except (OSError, ValueError) as error:
            fail(f"{name}: {error}", 2)
        return config.get("model_cfg", config)
    config = open_clip.get_model_config(name)
    if config is None:
        fail(f"open_clip has no model {name}; expected one of its model_configs, or a file that ends in .json", 2)
    return config


def make_model(config, loss):
    """An open_clip model. `tandem_family: siglip` means SigLIP's towers at sizes that timm has no name for."""
    args = {k: v for k, v in config.items() if not k.startswith("tandem_") and k != "custom_text"}
    args["init_logit_bias"] = -10.0 if loss == "siglip" else None
    args["init_logit_scale"] = math.log(10) if loss == "siglip" else math.log(1 / 0.07)
    if config.get("tandem_family") == "siglip":
        small = {"layers": 1, "width": 64, "patch_size": 16, "image_size": 16}
        text = dict(args["text_cfg"], pool_type="last", proj_bias=True, norm_kwargs={"eps": 1e-6})
        model = open_clip.CustomTextCLIP(**dict(args, vision_cfg=small, text_cfg=text))
        model.visual = SiglipImageTower(args["vision_cfg"])
        return model
    custom = config.get("custom_text") or args["vision_cfg"].get("timm_model_name")
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**args)


def spread_vectors(model, amount, generator):
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value += amount * torch.randn(value.shape, generator=generator)


def decays(name, value):
    """open_clip's rule since it spares positions and class embeddings as well as gains, biases and scalars."""
    spared = ("positional_embedding", "class_embedding", "pos_embed")
    return value.ndim > 1 and not name.endswith(spared)


def make_samples(config, args, generator):
    """Images from a normal distribution; captions [start] words [end] padding, of all lengths that fit."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    size = vision.get("image_size", 224)
    context, vocab = text.get("context_length", 77), text.get("vocab_size", 49408)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    samples = args.batch * args.batches
    images = torch.randn(samples, 3, height, width, generator=generator)
    tokens = torch.full((samples, context), args.pad, dtype=torch.int64)
    for row in range(samples):
        longest = min(context - 2, args.words) if args.words else context - 2
        words = int(torch.randint(0, longest + 1, (1,), generator=generator))
        words = (0, longest)[row] if row < 2 and args.batch > 2 else words
        tokens[row, 0] = vocab - 2
        tokens[row, 1:1 + words] = torch.randint(1, max(2, vocab - 2), (words,), generator=generator)
        tokens[row, 1 + words] = vocab - 1
    return images, tokens


def make_optimizer(model, optim):
    named = list(model.named_parameters())
    return torch.optim.AdamW(
        [{"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
         {"params": [p for n, p in named if decays(n, p)], "weight_decay": optim["weight_decay"]}],
        lr=optim["lr"], betas=(optim["beta1"], optim["beta2"]), eps=optim["eps"])


def run_steps(model, optim, images, tokens):
    """The expected tensors. Gradients are those before clipping."""
    expected = {}
    optimizer = make_optimizer(model, optim)
    loss_of = SigLipLoss() if optim["loss"] == "siglip" else ClipLoss()
    schedule = const_lr(optimizer, optim["lr"], optim["warmup"], optim["steps"]) if optim["schedule"] == "const" else \
        cosine_lr(optimizer, optim["lr"], optim["warmup"], optim["steps"])
    for step in range(optim["steps"]):
        schedule(step)
        optimizer.zero_grad()
        rows = slice(step * optim["batch"] % len(images), step * optim["batch"] % len(images) + optim["batch"])
        loss = loss_of(*model(images[rows], tokens[rows]))
        loss.backward()
        expected[f"loss/{step}"] = loss.detach().reshape(1).clone()
        if step == 0:
            for name, value in model.named_parameters():
                expected[f"grad/{name}"] = value.grad.detach().clone()
        if optim["grad_clip"] > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), optim["grad_clip"])
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
    for name, value in model.named_parameters():
        expected[f"weights/{name}"] = value.detach().clone()
    return expected


def write_tensors(path, tensors):
    save_file({name: value.contiguous() for name, value in tensors.items()}, str(path))


def write_folder(args):
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    config = read_config(args.model)
    optim = {"lr": args.lr, "beta1": args.beta1, "beta2": args.beta2, "eps": args.eps, "weight_decay": args.wd,
             "grad_clip": args.grad_clip_norm, "loss": args.loss, "steps": args.steps, "warmup": args.warmup,
             "schedule": args.lr_scheduler, "batch": args.batch}
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed + 1)
    model = make_model(config, args.loss).float().train()
    spread_vectors(model, args.spread, generator)
    images, tokens = make_samples(config, args, generator)
    write_tensors(out / "weights.safetensors", {n: p.detach().clone() for n, p in model.named_parameters()})
    write_tensors(out / "batch.safetensors", {"images": images, "tokens": tokens.int()})
    if args.float64:
        model, images = model.double(), images.double()
    expected = run_steps(model, optim, images, tokens)
    write_tensors(out / "expected.safetensors", expected)
    made = {"version": VERSION, "torch": torch.__version__, "open_clip": open_clip.__version__,
            "timm": timm.__version__,
            "arguments": {k: v for k, v in vars(args).items() if k not in ("out", "renew", "model")}}
    for name, value in (("config", config), ("optim", optim), ("twin", made)):
        (out / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
    losses = ", ".join(f"{float(expected[f'loss/{k}']):.7g}" for k in range(args.steps))
    count = sum(p.numel() for p in model.parameters())
    print(f"{out}: {count} parameters, {args.steps} steps in {'float64' if args.float64 else 'float32'}, loss {losses}")


def difference(before, after):
    """Lines about tensors that are not the same."""
    for name in sorted(set(before) | set(after)):
        if name not in before or name not in after or before[name].shape != after[name].shape:
            yield f"  {name}: {'new' if name not in before else 'gone' if name not in after else 'another shape'}"
            continue
        old, new = before[name].double(), after[name].double()
        change = float((new - old).norm() / (old.norm() if old.norm() > 0 else 1))
        if change > 0:
            yield f"  {name}: relative change {change:.3g}"


def renew(folder, parser):
    """Computes a folder anew from its own config.json and twin.json and prints what changed."""
    folder = pathlib.Path(folder)
    try:
        made = json.loads((folder / "twin.json").read_text())
    except (OSError, ValueError) as error:
        fail(f"{folder}: {error}", 2)
    args = parser.parse_args(["--model", str(folder / "config.json"), "--out", str(folder)])
    vars(args).update(made["arguments"])
    files = ("weights.safetensors", "batch.safetensors", "expected.safetensors")
    before = {f: load_file(str(folder / f)) if (folder / f).exists() else {} for f in files}
    write_folder(args)
    changes = [line for f in files for line in difference(before[f], load_file(str(folder / f)))]
    print("\n".join(changes) if changes else "  nothing changed")


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="an open_clip model name, or a configuration file that ends in .json")
    parser.add_argument("--out", help="the folder to write")
    parser.add_argument("--renew", nargs="+", metavar="DIR", help="compute these folders anew and print what changed")
    parser.add_argument("--loss", choices=("clip", "siglip"), default="clip")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batches", type=int, default=0, help="different ones, used in turn; 0: one a step")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--beta1", type=float, default=0.9)
    parser.add_argument("--beta2", type=float, default=0.98)
    parser.add_argument("--eps", type=float, default=1e-6)
    parser.add_argument("--wd", type=float, default=0.2)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--lr-scheduler", choices=("const", "cosine"), default="const")
    parser.add_argument("--grad-clip-norm", type=float, default=0.0, help="0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spread", type=float, default=0.02, help="noise added to gains and biases")
    parser.add_argument("--words", type=int, default=0, help="longest caption; 0: the context")
    parser.add_argument("--pad", type=int, default=0, help="the id behind the end token")
    parser.add_argument("--float64", action="store_true", help="compute in float64")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    return parser


def main():
    parser = make_parser()
    args = parser.parse_args()
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    if args.renew:
        for folder in args.renew:
            renew(folder, parser)
    elif args.model and args.out:
        args.batches = args.batches or args.steps
        if min(args.batch, args.steps, args.batches) < 1:
            fail(f"--batch {args.batch} --steps {args.steps} --batches {args.batches}; all must be at least 1", 2)
        write_folder(args)
    else:
        parser.error("expected --model and --out, or --renew")


if __name__ == "__main__":
    start(main)
