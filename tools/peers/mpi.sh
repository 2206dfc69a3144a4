#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds tools/peers/mpi_driver.c for every MPI library that is here, each in build/peers/mpi/<name> with a script `launch`
# that starts it with the settings that suit it best: Open MPI and MPICH as Debian packages, and newer ones and Intel MPI from
# PyPI, which it installs into environments of their own. `tandem bench --mpi build/peers/mpi` times them beside our rows.
#   tools/peers/mpi.sh          PEERS_PYTHON=python3.12 chooses the interpreter
# Exit: 0 at least one library is ready, 3 none is.
set -u
cd "$(dirname "$0")/../.." || exit 3
python=${PEERS_PYTHON:-python3} home=build/peers/mpi
sources="tools/peers/mpi_driver.c bench/coll_round.c threads/wait_turn.c" # also read by tests/mpi
mkdir -p "$home"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Kind, and where its launcher is. In both scripts: RANKS FREE COMMAND; FREE is 1 when every rank has a CPU of its own.
launcher() {
    case $1 in
    openmpi) cat <<END
#!/bin/sh
# Bound to cores, or, when ranks share CPUs, unbound and yielding.
ranks=\$1 free=\$2
shift 2
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
if [ "\$free" = 1 ]; then set -- --bind-to core "\$@"; else
    set -- --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 "\$@"; fi
exec $2 -n "\$ranks" "\$@"
END
    ;;
    mpich) cat <<END
#!/bin/sh
# Bound to cores, or, when ranks share CPUs, unbound, yielding and, after a poll in vain, sleeping: a broadcast of 64 KiB on
# four ranks took MPICH 5 a hundred times as long without.
ranks=\$1 free=\$2
shift 2
if [ "\$free" = 1 ]; then set -- -bind-to core "\$@"; else
    export MPIR_CVAR_POLLS_BEFORE_YIELD=1
    export MPIR_CVAR_CH4_PROGRESS_THROTTLE=1 MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT=1
    set -- -bind-to none "\$@"; fi
exec $2 -n "\$ranks" "\$@"
END
    ;;
    impi) cat <<END
#!/bin/sh
# One node, shared memory only; pinned, or, when ranks share CPUs, unpinned and yielding.
ranks=\$1 free=\$2
shift 2
export I_MPI_FABRICS=shm
if [ "\$free" = 1 ]; then export I_MPI_PIN=1; else export I_MPI_PIN=0 I_MPI_THREAD_YIELD=3 I_MPI_WAIT_MODE=0; fi
exec $2 -n "\$ranks" "\$@"
END
    ;;
    esac
}

ready=0
# name, kind, mpirun, compiler and flags
build() {
    name=$1 kind=$2 run=$3 compiler=$4
    shift 4
    mkdir -p "$home/$name"
    if ! "$compiler" -O3 -D_GNU_SOURCE -I. $sources "$@" -o "$home/$name/driver" >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        echo "tandem: $name cannot compile tools/peers/mpi_driver.c (shown above); it is left out" >&2
        rm -rf "${home:?}/$name"
        return
    fi
    launcher "$kind" "$run" >"$home/$name/launch"
    chmod +x "$home/$name/launch"
    ready=$((ready + 1))
    echo "tandem: $name ready in $home/$name"
}

# name, packages...: an environment of its own
environment() {
    where=$home/env-$1
    shift
    [ -f "$where/ready" ] && return 0
    { "$python" -m venv "$where" && "$where/bin/python" -m pip install -q --disable-pip-version-check "$@"; } \
        >"$log" 2>&1 && touch "$where/ready" && return 0
    tail -n 3 "$log" >&2
    echo "tandem: pip could not install $* (shown above); it is left out" >&2
    return 1
}

for kind in openmpi mpich; do
    if command -v "mpicc.$kind" >/dev/null 2>&1 && command -v "mpirun.$kind" >/dev/null 2>&1; then
        build "$kind-debian" "$kind" "mpirun.$kind" "mpicc.$kind"
    else
        echo "tandem: no $kind from Debian; run: sudo apt-get install openmpi-bin libopenmpi-dev mpich libmpich-dev" >&2
    fi
done
here=$(pwd)
for kind in openmpi mpich; do
    env=$here/$home/env-$kind
    if environment "$kind" "$kind"; then
        build "$kind" "$kind" "$env/bin/mpirun" "$env/bin/mpicc" "-Wl,-rpath,$env/lib"
    fi
done
env=$here/$home/env-impi
if environment impi impi-rt impi-devel; then
    build impi impi "env I_MPI_ROOT=$env LD_LIBRARY_PATH=$env/lib:$env/lib/mpi/release $env/bin/mpiexec.hydra" \
        cc "-I$env/include" "-L$env/lib" -lmpi "-Wl,-rpath,$env/lib"
fi
[ "$ready" -gt 0 ] || exit 3
