#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds a test run's kernel rows to the ledger of a build folder and says how each row was run.

usage: tools/kernel_ledger.py BUILD-FOLDER    after the suite kernel_rows has run
       tools/kernel_ledger.py --self-test

kernel_rows.jsonl, one line a row of the kernels table, is written by the tests: `how` is native, emulated (on portable
vectors, with the tiles of the row's ISA) or skipped; `hash` is of all results. kernel_ledger.jsonl keeps the lines of
every run with commit and date. Exit 1 when a row was not run: skipped, or missing because its test failed.
"""
import datetime
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def last_native(entry, ledger):
    """When and where a row last ran natively."""
    for old in reversed(ledger):
        if (old["op"], old["row"], old["how"]) == (entry["op"], entry["row"], "native"):
            return f"last native at {old['commit']} on {old['cpu']}"
    return "never native in this ledger"


def summary(rows, ledger):
    """Lines to print, and whether every row was run. `ledger`: earlier runs."""
    if not rows:
        return ["Kernel rows: none was run"], False
    of = rows[0]["rows"]
    lines, missing = [], of - len({(r["op"], r["row"]) for r in rows})
    done = [r for r in rows if r["how"] != "skipped"]
    lines.append(f"Kernel rows: {of}, run natively {sum(r['how'] == 'native' for r in rows)}, emulated "
                 f"{sum(r['how'] == 'emulated' for r in rows)}, not run {of - len(done)}, on {rows[0]['cpu']}")
    for level in dict.fromkeys(r["needs"] for r in rows):
        at = [r for r in rows if r["needs"] == level]
        native = sum(r["how"] == "native" for r in at)
        lines.append(f"  {level} rows: {len(at)}, native on this host {native}"
                     + ("" if native == len(at) else f", emulated {sum(r['how'] == 'emulated' for r in at)}; "
                        + last_native(next(r for r in at if r["how"] != "native"), ledger)))
    hashes = {}
    for r in done:
        hashes.setdefault(r["op"], set()).add(r["hash"])
    for op in (op for op, some in hashes.items() if len(some) > 1):
        lines.append(f"  {op}: its rows give different results")
    for r in (r for r in rows if r["how"] == "skipped"):
        lines.append(f"  not run: {r['op']} {r['row']}")
    if missing:
        lines.append(f"  not in the ledger, their tests failed: {missing} rows")
    return lines, len(done) == of and all(len(some) == 1 for some in hashes.values())


def self_test():
    def row(op, name, how, digest="aa"):
        return {"op": op, "row": name, "needs": name, "how": how, "hash": digest, "rows": 3, "cpu": "X 6/1/1"}
    good = [row("a", "avx2", "native"), row("a", "portable", "native"), row("b", "portable", "native", "bb")]
    old = [dict(good[0], commit="c1", cpu="Y 25/1/0")]
    assert summary(good, [])[1]
    assert summary([row("a", "avx2", "emulated")] + good[1:], [])[1]
    lines, whole = summary([row("a", "avx2", "emulated")] + good[1:], old)
    assert whole and "  avx2 rows: 1, native on this host 0, emulated 1; last native at c1 on Y 25/1/0" in lines, lines
    for bad, word in ((good[1:], "1 rows"), ([row("a", "avx2", "skipped")] + good[1:], "not run: a avx2"),
                      ([row("a", "avx2", "native", "cc")] + good[1:], "a: its rows give different"), ([], "none was")):
        lines, whole = summary(bad, [])
        assert not whole and any(word in line for line in lines), (word, lines)


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    build = pathlib.Path(sys.argv[1])
    rows, ledger = read(build / "kernel_rows.jsonl"), read(build / "kernel_ledger.jsonl")
    lines, whole = summary(rows, ledger)
    print("\n".join(lines))
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip() or "unknown"
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    with open(build / "kernel_ledger.jsonl", "a", encoding="utf-8") as out:
        for entry in rows:
            out.write(json.dumps(dict(entry, commit=commit, date=date)) + "\n")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
