#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measures allreduces with ranks that MPI starts: one rank a socket, bound to it, its cores as workers, on one node or several.
#   tools/mpi_job.sh                        by hand, with mpirun; HOSTS=a,b,c: on those, which are alike
#   sbatch --nodes=1 --exclusive tools/mpi_job.sh      under Slurm, whose srun starts the ranks (SRUN_MPI=pmix, the default, or pmi2)
#   sbatch --nodes=4 --exclusive tools/mpi_job.sh      the same on four
# RANKS and WORKERS choose other numbers of a node, GLOB and SUITE other cases (coll/allreduce/* of the full suite: a quarter of an
# hour), OUT the directory, MPIRUN the launcher (mpirun.openmpi, mpirun.mpich), MPIRUN_OPTIONS what else it is told.
#SBATCH --job-name=tandem
#SBATCH --nodes=1
set -eu
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
tandem=${TANDEM:-build/release/tandem}
[ -x "$tandem" ] || { echo "tandem: no program at $tandem; run make build, or name it with TANDEM" >&2; exit 3; }

sockets=$(lscpu -p=SOCKET | grep -v '^#' | sort -u | wc -l)
cores=$(lscpu -p=SOCKET,CORE | grep -v '^#' | sort -u | wc -l)
ranks=${RANKS:-$sockets}
nodes=${SLURM_JOB_NUM_NODES:-$(echo "${HOSTS:-here}" | tr ',' '\n' | wc -l)}
[ $((ranks * nodes)) -gt 1 ] || ranks=2 # one socket: its cores are shared out
workers=${WORKERS:-$((cores / ranks))}
[ "$workers" -ge 1 ] || { echo "tandem: $ranks ranks on $cores cores; expected RANKS=$cores at most" >&2; exit 2; }
out=${OUT:-out/mpi-$(date +%Y%m%d-%H%M%S)}
set -- "$tandem" bench "${GLOB:-coll/allreduce/*}" --suite "${SUITE:-full}" --layouts "p$((ranks * nodes))xt$workers:mpi" --out "$out"

if [ -n "${SLURM_JOB_ID:-}" ]; then
    spread=""
    [ "$nodes" -eq 1 ] || spread="--ntasks-per-node=$ranks"
    # shellcheck disable=SC2086
    exec srun --mpi="${SRUN_MPI:-pmix}" --ntasks=$((ranks * nodes)) $spread --cpus-per-task="$workers" --cpu-bind=cores "$@"
fi
mpirun=${MPIRUN:-mpirun}
each=$(echo "${HOSTS:-}" | sed "s/\([^,]\+\)/\1:$ranks/g")
case $("$mpirun" --version 2>&1) in
*"Open MPI"* | *OpenRTE*) set -- --map-by "slot:PE=$workers" --bind-to core --report-bindings ${each:+--host "$each"} "$@" ;;
*) set -- -bind-to "core:$workers" ${each:+-hosts "$each"} "$@" ;;
esac
# Options are words.
# shellcheck disable=SC2086
exec "$mpirun" -n $((ranks * nodes)) ${MPIRUN_OPTIONS:-} "$@"
