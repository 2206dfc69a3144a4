#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow, protobuf (upb) and the packages tfrecord and crc32c on what tandem's cases of the data path do.

    build/peers/data/bin/python tools/peers/data_peer.py --tandem build/release/tandem [--out DIR] [--only TEXT]

One thread on one CPU each. Every case is measured in turns, three times: the peer, then `tandem bench` of the same case
on one worker; a JSON line says the ratio of tandem's speed to the peer's fastest repetition, the median of the three.
With --out, DIR/records.jsonl holds tandem's records and the peers' of the same cases, with every repetition, for
`tandem report DIR`. Records to parse have the features, counts and sizes of tandem's (bench/parse_records.h), not the
same random values. make peers-data builds the environment.
"""
import argparse
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from script import fail, start, write_records

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
try:
    import crc32c
    import google.protobuf
    import numpy as np
    import tensorflow as tf
except ImportError as error:
    fail(f"{error}; `make peers-data` builds an environment that has it")

BATCH, BATCHES = 1024, 8
FIXED = {"f_one": 1, "f_two": 1, "f_eight": 8, "f_sixteen": 16, "i_one": 1, "i_two": 1, "i_four": 4}


def rates(step, work, seconds):
    """Work a second, of every repetition."""
    step()
    found, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        step()
        found.append(work / (time.perf_counter() - start))
    return found


def tandem_run(program, case, seconds):
    """The machine's line with the ceilings, and the record of the case."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([program, "bench", case, "--suite", "full", "--layouts", "p1xt1", "--min-time-ms",
                        str(int(1000 * seconds)), "--no-report", "--out", out], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        with open(os.path.join(out, "records.jsonl"), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    found = [row for row in rows if row.get("case") == case and row["status"] == "ok" and row["provider"] == "tandem"]
    if not found:
        raise SystemExit(f"data_peer: no record of {case}")
    return [row for row in rows if "machine" in row or row.get("case", "").startswith("ceiling/")], found[0]


def pool(row, samples):
    """The record with these times of one step, in ns: its value is of their median, as in every record."""
    ordered, work = sorted(samples), row["value"] * row["time_ns"]["p50"]
    middle = statistics.median(ordered)
    at = lambda q: ordered[round(q * (len(ordered) - 1))]
    times = {"min": ordered[0], "p50": middle, "p95": at(0.95), "p99": at(0.99), "max": ordered[-1],
             "mad": statistics.median(abs(s - middle) for s in ordered), "n": len(ordered)}
    return dict(row, value=work / middle, time_ns=times, samples_ns=samples)


def peer_record(row, peer, version, found, command):
    """The peer's rates as a record of tandem's case: the times in which it does a step's work."""
    work = row["value"] * row["time_ns"]["p50"]
    names = ("schema", "case", "layout", "isa", "unit", "flops", "bytes", "value", "time_ns")
    kept = {name: row[name] for name in names if name in row}
    return pool(dict(kept, provider=peer, provider_version=version, status="ok", lower_is_better=False, ceilings=[],
                     check={"ok": True, "method": "none: a peer's time"}, noise={}, command=command),
                [work / rate for rate in found])


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
stop = None
while stop is None or time.perf_counter() < stop:
    start = time.perf_counter()
    stop = stop or start + float(sys.argv[2])
    for _ in tfrecord_iterator(sys.argv[1]):
        pass
    print(time.perf_counter() - start)
"""


def package_rates(path, work, seconds):
    """In a process of its own: its messages have the names of TensorFlow's, which one process cannot hold twice."""
    run = subprocess.run([sys.executable, "-c", PACKAGE, path, str(seconds)], check=True, capture_output=True, text=True)
    return [work / float(line) for line in run.stdout.split()]


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
    return records


def batches_of(records):
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
        yield ("crc32c", importlib.metadata.version("crc32c"), f"data/crc32c/vpclmul/{name}",
               lambda s=step, n=size * times: rates(s, n * 1e-9, seconds))


def read_rows(directory, seconds):
    for name, size in (("100KB", 100_000), ("300B", 300)):
        path, total = record_file(directory, size)
        case = f"data/tfrecord_read/checked/{name}"
        yield ("tensorflow", tf.__version__, case,
               lambda p=path, z=size, n=total: rates(lambda: read_dataset(p, z), n * 1e-9, seconds))
        yield ("tfrecord-unchecked", importlib.metadata.version("tfrecord"), case,
               lambda p=path, n=total: package_rates(p, n * 1e-9, seconds))


def parse_rows(directory, seconds):
    records = examples()
    batches = batches_of(records)
    for name, spec in parse_specs().items():
        function = tf.function(lambda records, spec=spec: tf.io.parse_example(records, spec))

        def step(function=function):
            for batch in batches:
                function(batch)
        yield ("tensorflow", tf.__version__, f"data/parse/{name}/300B-b1024",
               lambda s=step: rates(s, BATCH * BATCHES, seconds))

    def parse_messages():
        for record in records:
            tf.train.Example.FromString(record)
    yield ("protobuf-upb", google.protobuf.__version__, "data/parse/ragged/300B-b1024",
           lambda: rates(parse_messages, BATCH * BATCHES, seconds))


def columns_of(v1):
    """The columns of tandem's case data/columns/layer: 49 numbers a record."""
    numbers = [v1.numeric_column("f_one"), v1.numeric_column("f_two"), v1.numeric_column("i_one", dtype=tf.int64),
               v1.numeric_column("i_two", dtype=tf.int64)]
    buckets = [v1.bucketized_column(numbers[0], [-1, -0.5, 0, 0.5, 1]), v1.bucketized_column(numbers[1], [-1, 0, 1])]
    words = [f"word_{i:06}" for i in range(1, 11)]
    listed = v1.indicator_column(v1.categorical_column_with_vocabulary_list("b_tags", words, num_oov_buckets=1))
    hashed = [v1.categorical_column_with_hash_bucket("b_words", 1000),
              v1.categorical_column_with_hash_bucket("i_four", 1000, dtype=tf.int64),
              v1.crossed_column(["b_tags", "b_words"], 1000)]
    return numbers + buckets + [listed] + [v1.embedding_column(column, 8) for column in hashed]


def layer_rows(directory, seconds):
    """input_layer in a graph whose inputs lie in variables, so that nothing is fed and nothing is known before."""
    v1, records = tf.compat.v1, examples()[:BATCH]
    columns = columns_of(v1.feature_column)
    with tf.Graph().as_default():
        serialized = v1.get_variable("serialized", initializer=tf.constant(records), trainable=False, use_resource=True)
        parsed = tf.io.parse_example(serialized, v1.feature_column.make_parse_example_spec(columns))
        held = []

        def keep(value):
            variable = v1.Variable(value, trainable=False, validate_shape=False, use_resource=True)
            held.append(variable.initializer)
            return tf.ensure_shape(variable.read_value(), value.shape)
        inputs = {key: tf.SparseTensor(keep(value.indices), keep(value.values), keep(value.dense_shape))
                  if isinstance(value, tf.SparseTensor) else keep(value) for key, value in parsed.items()}
        with v1.variable_scope("layer", reuse=v1.AUTO_REUSE):
            both, alone = (v1.feature_column.input_layer(features, columns) for features in (parsed, inputs))
        config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        with v1.Session(config=config) as session:
            session.run(serialized.initializer)
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            session.run(held)
            assert session.run(alone).shape == (BATCH, 49)
            for case, output in (("layer", alone), ("parse_and_layer", both)):
                step = session.make_callable(output.op)
                yield ("tensorflow", tf.__version__, f"data/columns/{case}/300B-b1024",
                       lambda s=step: rates(s, BATCH, seconds))


def keras_layers():
    """Keras' layers as tandem's cases data/columns/keras_* have them: functions of the parsed features."""
    layers, table = tf.keras.layers, tf.random.normal((1001, 8))
    words = [f"word_{i:06}" for i in range(1, 11)]
    hashing, crossing = layers.Hashing(1000), layers.HashedCrossing(1000)
    strings = layers.StringLookup(vocabulary=words, output_mode="multi_hot")
    integers = layers.IntegerLookup(vocabulary=[1, 2, 3, 5, 8, 13])
    bins = [layers.Discretization(at, output_mode="one_hot") for at in ([-1., -.5, 0., .5, 1.], [-1., 0., 1.])]
    encoding, normal = layers.CategoryEncoding(16), layers.Normalization(mean=.5, variance=2.)

    def embedded(ids):
        return tf.nn.safe_embedding_lookup_sparse(table, ids.to_sparse(), combiner="mean")
    return {
        "hashing": lambda x: embedded(x["b_words"].with_flat_values(hashing(x["b_words"].flat_values))),
        "hashed_crossing": lambda x: tf.gather(table, crossing((x["i_one"], x["i_two"]))),
        "string_lookup": lambda x: strings(x["b_tags"]),
        "integer_lookup": lambda x: tf.reduce_mean(tf.gather(table, integers(x["i_four"])), 1),
        "discretization": lambda x: tf.concat([bins[0](x["f_one"]), bins[1](x["f_two"])], 1),
        "category_encoding": lambda x: encoding(x["i_four"] % 16),
        "normalization": lambda x: tf.concat([normal(x["f_one"]), normal(x["f_two"])], 1),
    }


def keras_rows(directory, seconds):
    spec = {key: tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64) for key in ("b_words", "b_tags")}
    for key in ("f_one", "f_two", "i_one", "i_two", "i_four"):
        spec[key] = tf.io.FixedLenFeature([FIXED[key]], tf.float32 if key[0] == "f" else tf.int64)
    parsed = [tf.io.parse_example(batch, spec) for batch in batches_of(examples())]
    for name, layer in keras_layers().items():
        function = tf.function(layer)

        def step(function=function):
            for features in parsed:
                function(features)
        yield ("keras", tf.keras.version(), f"data/columns/keras_{name}/300B-b1024",
               lambda s=step: rates(s, BATCH * BATCHES, seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="of each timing")
    parser.add_argument("--tandem", required=True, help="the program, to measure in turns with its peers")
    parser.add_argument("--out", help="a folder for records of both, which tandem report reads")
    parser.add_argument("--only", default="", help="cases whose id holds this text")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    header, written = None, {}
    with tempfile.TemporaryDirectory() as directory:
        for rows in (crc_rows, read_rows, parse_rows, layer_rows, keras_rows):
            for peer, version, case, measure in rows(directory, args.seconds):
                if args.only not in case:
                    continue
                first, own, theirs = compare(peer, version, case, measure, args)
                header = header or first
                written.setdefault(case, [own]).append(theirs)
                if args.out:
                    write_records(pathlib.Path(args.out), header + sum(written.values(), []))


def compare(peer, version, case, measure, args):
    """Three turns each; prints the ratio, returns the records."""
    peers, ours = [], []
    for _ in range(3):
        peers.append(measure())
        header, row = tandem_run(args.tandem, case, args.seconds)
        ours.append(row)
    best, values = [max(found) for found in peers], [row["value"] for row in ours]
    print(json.dumps({"peer": peer, "version": version, "case": case,
                      "peer_value": float(f"{statistics.median(best):.5g}"),
                      "tandem_value": float(f"{statistics.median(values):.5g}"),
                      "ratio": round(statistics.median(t / p for t, p in zip(values, best)), 2)}), flush=True)
    command = f"tools/peers/data_peer.py --tandem {args.tandem} --only {case}"
    return (header, pool(ours[0], [s for row in ours for s in row["samples_ns"]]),
            peer_record(ours[0], peer, version, sum(peers, []), command))


if __name__ == "__main__":
    start(main)
