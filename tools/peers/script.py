# SPDX-License-Identifier: Apache-2.0
"""What the scripts of this folder share: how they end, and how they write records."""
import json
import os
import pathlib
import sys

NAME = pathlib.Path(sys.argv[0]).stem


def progress(text):
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)


def fail(message, status=3):
    progress(message)
    sys.exit(status)


def write_records(folder, records):
    """FOLDER/records.jsonl, whole or as it was."""
    path = pathlib.Path(folder) / "records.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    fresh.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    os.replace(fresh, path)


def start(main):
    """An interrupt ends with 130; what was finished before it has been written."""
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted", 130)
