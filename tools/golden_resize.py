#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/resize_pillow.txt: what Pillow's BICUBIC, and torchvision's Resize and CenterCrop on top of it,
make of small images whose bytes both sides compute; of 300 random sizes the hash of it.

usage: tools/golden_resize.py    (needs Pillow below 13, which takes rows first at some sizes)
"""
import hashlib
import pathlib
import random

import PIL
from PIL import Image

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "resize_pillow.txt"

# width, height, new width, new height
RESIZES = [(7, 5, 7, 5), (7, 5, 3, 2), (7, 5, 16, 11), (1, 1, 4, 3), (16, 1, 5, 1), (1, 16, 1, 5), (31, 17, 8, 17),
           (31, 17, 31, 6), (40, 30, 1, 1), (3, 50, 9, 4), (64, 64, 13, 13), (12, 12, 11, 13), (200, 3, 7, 6)]
# width, height, size of the square
FITS = [(10, 10, 4), (13, 10, 4), (10, 13, 4), (31, 17, 8), (17, 31, 8), (5, 40, 6), (40, 5, 6), (8, 6, 9), (29, 20, 9)]


def random_sizes():
    """300 of them: up, down and mixed, sides of one pixel among them."""
    draw = random.Random(23)
    sides = [1, 2, 3, 5, 7, 8, 13, 16, 31, 33, 64, 67, 96, 127, 224, 257, 301]

    def side():
        return draw.choice(sides) if draw.random() < 0.5 else draw.randint(1, 320)
    return [(side(), side(), side(), side()) for _ in range(300)]


def picture(width, height):
    """Byte i; the flat stretches and the jumps of every 48th byte make overshoot clip at both ends."""
    data = bytes((255 if i // 48 % 2 else 0) if i % 5 < 3 else (i * i * 31 + i * 97) % 256
                 for i in range(3 * width * height))
    return Image.frombytes("RGB", (width, height), data)


def fit(image, size):
    width, height = image.size
    new = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    image = image.resize(new, Image.BICUBIC)
    top, left = int(round((new[1] - size) / 2.0)), int(round((new[0] - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


def main():
    lines = [f"# by tools/golden_resize.py with Pillow {PIL.__version__}: kind, width, height, new width, new height, "
             "RGB bytes or the start of their SHA-256"]
    for width, height, new_width, new_height in RESIZES:
        out = picture(width, height).resize((new_width, new_height), Image.BICUBIC)
        lines.append(f"resize {width} {height} {new_width} {new_height} {out.tobytes().hex()}")
    for width, height, new_width, new_height in random_sizes():
        out = picture(width, height).resize((new_width, new_height), Image.BICUBIC)
        lines.append(f"sha256 {width} {height} {new_width} {new_height} "
                     f"{hashlib.sha256(out.tobytes()).hexdigest()[:16]}")
    for width, height, size in FITS:
        lines.append(f"fit {width} {height} {size} {size} {fit(picture(width, height), size).tobytes().hex()}")
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
