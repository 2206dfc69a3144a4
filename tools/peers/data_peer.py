#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow and the packages tfrecord and crc32c on what tandem's cases of the data path do: one JSON line each.

    build/peers/data/bin/python tools/peers/data_peer.py --tandem build/release/tandem [--seconds S] [--only TEXT]

One thread on one CPU each. Every line is measured in turns, three times: the peer, then `tandem bench` of the same case
on one worker; the ratio is tandem's speed over the peer's, the median of the three. Records to parse have the features,
counts and sizes of tandem's (bench/parse_records.h), not the same random values. make peers-data builds the environment.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
try:
    import crc32c
    import numpy as np
    import tensorflow as tf
except ImportError as error:
    print(f"data_peer: {error}; `make peers-data` builds an environment that has it", file=sys.stderr)
    sys.exit(3)

BATCH, BATCHES = 1024, 8
FIXED = {"f_one": 1, "f_two": 1, "f_eight": 8, "f_sixteen": 16, "i_one": 1, "i_two": 1, "i_four": 4}


def best(step, work, seconds):
    """Work a second of the fastest repetition: a peer is given its best."""
    step()
    fastest, stop = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        step()
        fastest = min(fastest, time.perf_counter() - start)
    return work / fastest


def tandem_value(program, case, seconds):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([program, "bench", case, "--suite", "full", "--layouts", "p1xt1", "--min-time-ms",
                        str(int(1000 * seconds)), "--no-report", "--out", out], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        with open(os.path.join(out, "records.jsonl"), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    values = [row["value"] for row in rows if row.get("case") == case and row["status"] == "ok"]
    if not values:
        raise SystemExit(f"data_peer: no record of {case}")
    return values[0]


def record_file(directory, size):
    path = os.path.join(directory, f"records-{size}")
    payload = os.urandom(size)
    with tf.io.TFRecordWriter(path) as writer:
        for _ in range(64_000_000 // size):
            writer.write(payload)
    return path, 64_000_000 // size * size


def read_dataset(path, size):
    dataset = tf.data.TFRecordDataset(path).batch(64 if size > 1000 else 4096)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    for _ in dataset.with_options(options):
        pass


PACKAGE = """
import sys, time
from tfrecord.reader import tfrecord_iterator
fastest, stop = float("inf"), None
while stop is None or time.perf_counter() < stop:
    start = time.perf_counter()
    stop = stop or start + float(sys.argv[2])
    for _ in tfrecord_iterator(sys.argv[1]):
        pass
    fastest = min(fastest, time.perf_counter() - start)
print(fastest)
"""


def package_value(path, work, seconds):
    """In a process of its own: its messages have the names of TensorFlow's, which one process cannot hold twice."""
    run = subprocess.run([sys.executable, "-c", PACKAGE, path, str(seconds)], check=True, capture_output=True, text=True)
    return work / float(run.stdout)


def examples():
    rng = np.random.default_rng(7)
    floats = lambda n: tf.train.Feature(float_list=tf.train.FloatList(value=rng.normal(size=n)))
    ints = lambda n: tf.train.Feature(int64_list=tf.train.Int64List(
        value=[int(rng.integers(0, 2 ** int(1 + rng.integers(0, 40)))) for _ in range(n)]))
    words = lambda: tf.train.Feature(bytes_list=tf.train.BytesList(
        value=[b"word_%06d" % rng.integers(0, 10**6) for _ in range(rng.integers(0, 4))]))
    records = []
    for _ in range(BATCH * BATCHES):
        feature = {key: (floats if key[0] == "f" else ints)(n) for key, n in FIXED.items()}
        feature.update(b_tags=words(), b_words=words(), f_list=floats(rng.integers(0, 11)))
        records.append(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return [tf.constant(records[i * BATCH:(i + 1) * BATCH]) for i in range(BATCHES)]


def parse_specs():
    dense = {key: tf.io.FixedLenFeature([n], tf.float32 if key[0] == "f" else tf.int64) for key, n in FIXED.items()}
    varying = {"b_tags": tf.string, "b_words": tf.string, "f_list": tf.float32}
    kinds = {"sparse": tf.io.VarLenFeature,
             "ragged": lambda kind: tf.io.RaggedFeature(kind, row_splits_dtype=tf.int64),
             "padded": lambda kind: tf.io.FixedLenSequenceFeature([], kind, allow_missing=True)}
    return {"dense": dense,
            **{name: {**dense, **{key: make(kind) for key, kind in varying.items()}} for name, make in kinds.items()}}


def crc_rows(directory, seconds):
    for name, size in (("64B", 64), ("300B", 300), ("4KiB", 4096), ("100KB", 100_000), ("1MiB", 1 << 20)):
        data, times = os.urandom(size), max(1, 1_000_000 // size)

        def step(data=data, times=times):
            for _ in range(times):
                crc32c.crc32c(data)
        yield "crc32c", f"data/crc32c/vpclmul/{name}", lambda s=step, n=size * times: best(s, n * 1e-9, seconds)


def read_rows(directory, seconds):
    for name, size in (("100KB", 100_000), ("300B", 300)):
        path, total = record_file(directory, size)
        case = f"data/tfrecord_read/checked/{name}"
        yield "TFRecordDataset", case, lambda p=path, z=size, n=total: best(lambda: read_dataset(p, z), n * 1e-9, seconds)

        yield "tfrecord (checks nothing)", case, lambda p=path, n=total: package_value(p, n * 1e-9, seconds)


def parse_rows(directory, seconds):
    batches = examples()
    for name, spec in parse_specs().items():
        function = tf.function(lambda records, spec=spec: tf.io.parse_example(records, spec))

        def step(function=function):
            for batch in batches:
                function(batch)
        yield ("parse_example", f"data/parse/{name}/300B-b1024",
               lambda s=step: best(s, BATCH * BATCHES, seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="of each timing")
    parser.add_argument("--tandem", required=True, help="the program, to measure in turns with its peers")
    parser.add_argument("--only", default="", help="cases whose id holds this text")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        for rows in (crc_rows, read_rows, parse_rows):
            for peer, case, measure in rows(directory, args.seconds):
                if args.only not in case:
                    continue
                peers, ours = [], []
                for _ in range(3):
                    peers.append(measure())
                    ours.append(tandem_value(args.tandem, case, args.seconds))
                print(json.dumps({"peer": peer, "tensorflow": tf.__version__, "case": case,
                                  "peer_value": float(f"{statistics.median(peers):.5g}"),
                                  "tandem_value": float(f"{statistics.median(ours):.5g}"),
                                  "ratio": round(statistics.median(t / p for t, p in zip(ours, peers)), 2)}), flush=True)


if __name__ == "__main__":
    main()
