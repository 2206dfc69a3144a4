#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The house rules that a machine can check, run by ctest. Prints one line a violation; exit 1 when there is one.

usage: tools/tidy.py [--self-test]
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What each folder may include, besides itself.
LAYERS = {
    "base": set(),
    "threads": {"base"},
    "kernels": {"base"},
    "reports": {"base"},
    "collectives": {"threads", "kernels", "base"},
    "data": {"threads", "base"},
    "models": {"kernels", "threads", "collectives", "data", "base"},
    "bench": {"models", "kernels", "threads", "collectives", "data", "reports", "base"},
    "tests": {"bench", "models", "kernels", "threads", "collectives", "data", "reports", "base"},
    "examples": {"models", "kernels", "threads", "collectives", "data", "reports", "base"},
}

# pattern, what to use instead, where it is allowed.
BANNED = [
    (r"\b(rand|srand|random|drand48)\s*\(", "td_rng", ()),
    (r"(?<!->)(?<!\.)\b(malloc|calloc|realloc|strdup|aligned_alloc|posix_memalign)\s*\(", "td_alloc and friends",
     ("base/memory.c", "threads/census_shim.c", "tests/")),
    (r"\bato[ifl]\s*\(", "td_parse_int", ()),
    (r"\bgettimeofday\b", "td_now_ns", ()),
    (r"(?<!__asm__ )\bvolatile\b(?!\s*\()", "stdatomic.h", ("sig_atomic_t",)),
    (r"\bTODO\b|\bFIXME\b|\bXXX\b", "an issue", ()),
    (r"^\s*#\s*if\s+0\b", "deletion", ()),
    (r"\b(robust|comprehensive|seamless)", "a plain word", ()),
]
SLEEP = re.compile(r"\b(u?sleep|nanosleep)\s*\(")

MAX_COLUMNS, MAX_LINES, MAX_FUNCTION = 100, 800, 70
# Functions over the limit, with the length they may not exceed; this list only shrinks.
LONG_FUNCTIONS = {}
# Symbols with external linkage that need no td_ prefix.
PLAIN_SYMBOLS = {"main"}


def tracked():
    """What git tracks or would; without git, as in a source archive, all files but what builds leave behind."""
    try:
        listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        listed = [str(p.relative_to(ROOT)) for p in sorted(ROOT.rglob("*"))]
        listed = [f for f in listed if f.split("/")[0] not in ("build", "out", ".git")]
    return [f for f in listed if f and (ROOT / f).is_file()]


def strip_comments(text):
    """Comments become blanks of the same shape, so that line numbers stay."""
    blank = lambda m: re.sub(r"[^\n]", " ", m.group(0))
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', lambda m: '"' + " " * (len(m.group(0)) - 2) + '"', text)
    return re.sub(r"/\*.*?\*/|//[^\n]*", blank, text, flags=re.S)


def check_text(name, text):
    """Rules that need one file only. Yields (line, message)."""
    lines = text.split("\n")
    code = strip_comments(text).split("\n")
    if "SPDX-License-Identifier" not in "\n".join(lines[:3]):
        yield 1, "no SPDX line"
    if len(lines) - 1 > MAX_LINES:
        yield len(lines), f"{len(lines) - 1} lines; at most {MAX_LINES}"
    folder = name.split("/")[0]
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            yield number, f"{len(line)} columns; at most {MAX_COLUMNS}"
        include = re.match(r'\s*#\s*include\s+"([a-z_]+)/', line)
        if include and folder in LAYERS and include.group(1) in LAYERS:
            if include.group(1) != folder and include.group(1) not in LAYERS[folder]:
                yield number, f"{folder} may not include {include.group(1)}"
        for pattern, instead, allowed in BANNED:
            target = line if "TODO" in pattern or "robust" in pattern else code[number - 1]
            if re.search(pattern, target) and not any(a in name or a in line for a in allowed):
                yield number, f"banned: {pattern}; use {instead}"
        if folder == "tests" and SLEEP.search(code[number - 1]) and "wait_until" not in text:
            yield number, "a test waits for a condition, not for a time"
    yield from check_functions(name, code)


def check_functions(name, code):
    start = None
    for number, line in enumerate(code, 1):
        if start is None and re.match(r"[A-Za-z_].*\)\s*\{\s*$", line) or (
                start is None and re.match(r"\s{4,}.*\)\s*\{\s*$", line) and number > 1
                and re.match(r"[A-Za-z_].*\($|[A-Za-z_][^;{}]*,\s*$", code[number - 2])):
            start = number
            head = code[number - 2] + line
        elif start is not None and line.startswith("}"):
            length = number - start + 1
            found = re.search(r"(\w+)\s*\(", head.lstrip())
            symbol = found.group(1) if found else "?"
            allowed = LONG_FUNCTIONS.get(f"{name}:{symbol}", MAX_FUNCTION)
            if length > allowed:
                yield start, f"{symbol} has {length} lines; at most {allowed}"
            start = None


def check_tree(files):
    seen = {}
    lists = "\n".join((ROOT / f).read_text() for f in files if f.endswith("CMakeLists.txt"))
    for f in files:
        path = pathlib.PurePath(f)
        if path.name in ("CMakeLists.txt", "README.md", "__init__.py") or path.name.startswith("."):
            continue
        if path.suffix in (".c", ".h", ".cc", ".inc"):
            if path.name in seen:
                yield f, 1, f"basename also used by {seen[path.name]}"
            seen[path.name] = f
        if path.suffix in (".c", ".cc") and path.parts[0] != "examples":
            if path.stem not in lists and path.name not in lists:
                yield f, 1, "no CMakeLists.txt names this file"


def self_test():
    """Every rule must reject something, or it is not a rule."""
    ok = "/* SPDX-License-Identifier: Apache-2.0 */\n"
    rejects = [
        ("base/a.c", "int x;\n"), ("base/a.c", ok + '#include "threads/team.h"\n'),
        ("base/a.c", ok + "x" * 101 + "\n"), ("base/a.c", ok + "int y = rand();\n"),
        ("data/a.c", ok + "void *p = malloc(3);\n"), ("data/a.c", ok + "int x = atoi(s);\n"),
        ("data/a.c", ok + "volatile int x;\n"), ("data/a.c", ok + "/* TODO */\n"), ("data/a.c", ok + "#if 0\n"),
        ("data/a.c", ok + "/* a robust thing */\n"), ("tests/a.c", ok + "usleep(3);\n"),
        ("data/a.c", ok + "\n" * 801), ("data/a.c", ok + "int f(void) {\n" + "\n" * 80 + "}\n"),
        ("kernels/a.c", ok + '#include "threads/team.h"\n'),
    ]
    accepts = [("base/a.c", ok + "/* volatile, rand() */\n"), ("base/memory.c", ok + "void *p = malloc(3);\n"),
               ("data/a.c", ok + '#include "threads/team.h"\nint f(void) {\n}\n')]
    bad = [r for r in rejects if not list(check_text(*r))] + [a for a in accepts if list(check_text(*a))]
    for name, text in bad:
        print(f"self-test: wrong verdict on {name}: {text[:80]!r}")
    return 1 if bad else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    files = tracked()
    violations = list(check_tree(files))
    for f in files:
        if f.endswith((".c", ".h", ".cc", ".inc")):
            violations += [(f, line, message) for line, message in check_text(f, (ROOT / f).read_text())]
    for f, line, message in violations:
        print(f"{f}:{line}: {message}")
    print(f"tidy: {len(files)} files, {len(violations)} violations")
    return 1 if violations or self_test() else 0


if __name__ == "__main__":
    sys.exit(main())
