#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measures the allreduces of one machine with ranks that MPI starts: one rank a socket, bound to it, its cores as workers.
#   tools/mpi_job.sh                        by hand, with mpirun
#   sbatch --nodes=1 --exclusive tools/mpi_job.sh      under Slurm, whose srun starts the ranks (SRUN_MPI=pmix, the default, or pmi2)
# RANKS and WORKERS choose other numbers, GLOB and SUITE other cases (coll/allreduce/* of the full suite: a quarter of an
# hour), OUT the directory, MPIRUN the launcher (mpirun.openmpi, mpirun.mpich).
# Ranks of several machines are refused: they have no memory in common.
#SBATCH --job-name=tandem
#SBATCH --nodes=1
set -eu
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
tandem=${TANDEM:-build/release/tandem}
[ -x "$tandem" ] || { echo "tandem: no program at $tandem; run make build, or name it with TANDEM" >&2; exit 3; }

sockets=$(lscpu -p=SOCKET | grep -v '^#' | sort -u | wc -l)
cores=$(lscpu -p=SOCKET,CORE | grep -v '^#' | sort -u | wc -l)
ranks=${RANKS:-$sockets}
[ "$ranks" -gt 1 ] || ranks=2 # one socket: its cores are shared out
workers=${WORKERS:-$((cores / ranks))}
[ "$workers" -ge 1 ] || { echo "tandem: $ranks ranks on $cores cores; expected RANKS=$cores at most" >&2; exit 2; }
out=${OUT:-out/mpi-$(date +%Y%m%d-%H%M%S)}
set -- "$tandem" bench "${GLOB:-coll/allreduce/*}" --suite "${SUITE:-full}" --layouts "p${ranks}xt$workers:mpi" --out "$out"

if [ -n "${SLURM_JOB_ID:-}" ]; then
    exec srun --mpi="${SRUN_MPI:-pmix}" --ntasks="$ranks" --cpus-per-task="$workers" --cpu-bind=cores "$@"
fi
mpirun=${MPIRUN:-mpirun}
case $("$mpirun" --version 2>&1) in
*"Open MPI"* | *OpenRTE*) set -- --map-by "slot:PE=$workers" --bind-to core --report-bindings "$@" ;;
*) set -- -bind-to "core:$workers" "$@" ;;
esac
exec "$mpirun" -n "$ranks" "$@"
