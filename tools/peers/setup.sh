#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the Python environment of the peers, torch and open_clip, in build/peers (about 6 GB from PyPI), or with "data"
# that of the data path's, TensorFlow, tfrecord and crc32c, in build/peers/data (2 GB). Again, it only checks that what is
# there is what tools/peers/requirements*.txt asks for. Nothing but tools/peers needs them.
#   tools/peers/setup.sh [data]    PEERS_PYTHON=python3.12 chooses the interpreter
# Exit: 0 ready, 3 Python, its venv module or a package is missing.
set -u
cd "$(dirname "$0")/../.." || exit 3
python=${PEERS_PYTHON:-python3} what=${1:-torch}
case $what in
torch)
    home=build/peers wanted=tools/peers/requirements.txt names="torch and open_clip"
    check='
import importlib.metadata as m, open_clip, open_clip_train.scheduler, timm, torch
print("tandem: peers ready in build/peers: torch %s, open_clip %s, timm %s"
      % (torch.__version__, m.version("open_clip_torch"), timm.__version__))'
    ;;
data)
    home=build/peers/data wanted=tools/peers/requirements-data.txt names="TensorFlow, tfrecord and crc32c"
    check='
import importlib.metadata as m, crc32c, tfrecord
print("tandem: peers ready in build/peers/data: tensorflow %s, tfrecord %s, crc32c %s"
      % (m.version("tensorflow-cpu"), m.version("tfrecord"), m.version("crc32c")))'
    ;;
*)
    echo "tandem: $what: expected nothing or data" >&2
    exit 3
    ;;
esac

if cmp -s "$wanted" "$home/requirements.txt" && "$home/bin/python" -c "$check" 2>/dev/null; then
    exit 0
fi
if ! command -v "$python" >/dev/null 2>&1; then
    echo "tandem: $python is not installed; run: sudo apt-get install python3 python3-venv" >&2
    exit 3
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "tandem: installing $names into $home"
if [ ! -x "$home/bin/python" ] && ! "$python" -m venv "$home" >"$log" 2>&1; then
    cat "$log" >&2
    rm -rf "$home"
    echo "tandem: $python makes no virtual environment; run: sudo apt-get install python3-venv" >&2
    exit 3
fi
if ! "$home/bin/python" -m pip install -q --disable-pip-version-check -r "$wanted" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    echo "tandem: pip could not install $wanted (shown above); repeat the command when that is mended" >&2
    exit 3
fi
if ! "$home/bin/python" -c "$check" 2>"$log"; then
    tail -n 5 "$log" >&2
    echo "tandem: the packages are installed but do not import; remove $home and repeat the command" >&2
    exit 3
fi
cp "$wanted" "$home/requirements.txt"
