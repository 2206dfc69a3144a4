#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tries tools/mpi_job.sh, or another batch script, under a Slurm that this starts on this machine for the purpose, of one
# node and with no authentication, and ends again. Needs root, and Debian's slurmctld, slurmd and slurm-client.
#   tools/slurm_trial.sh [SCRIPT]        the environment reaches the job: SRUN_MPI=pmi2 GLOB='coll/allreduce/ring/*' ...
# Exit: that of the job; 3 Slurm is missing or does not start.
set -u
job=${1:-$(dirname "$0")/mpi_job.sh}
PATH=$PATH:/usr/sbin
for program in slurmctld slurmd sbatch srun sinfo; do
    command -v "$program" >/dev/null || {
        echo "tandem: no $program; apt-get install slurmctld slurmd slurm-client" >&2
        exit 3
    }
done
[ "$(id -u)" -eq 0 ] || { echo "tandem: the daemons of Slurm need root" >&2; exit 3; }

folder=$(mktemp -d)
daemons=""
end() {
    [ -z "$daemons" ] || kill $daemons 2>/dev/null
    wait
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 3' INT TERM
mkdir "$folder/state" "$folder/spool"
host=$(hostname -s)
cores=$(lscpu -p=SOCKET,CORE | grep -v '^#' | sort -u | wc -l)
export SLURM_CONF="$folder/slurm.conf"
# Ports beside those of a Slurm that may run here. config_overrides: the node is as large as written here.
cat >"$SLURM_CONF" <<END
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/none
CredType=cred/none
SlurmUser=root
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
KillWait=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
NodeName=$host NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket=$cores ThreadsPerCore=1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
END
slurmctld -D >"$folder/slurmctld.log" 2>&1 &
daemons=$!
slurmd -D >"$folder/slurmd.log" 2>&1 &
daemons="$daemons $!"
# srun waits for the daemons itself, as long as they come within a quarter of a minute.
if ! timeout 30 srun -n 1 true 2>"$folder/srun.log"; then
    echo "tandem: Slurm does not start here:" >&2
    tail -n 5 "$folder/srun.log" "$folder/slurmctld.log" "$folder/slurmd.log" >&2
    exit 3
fi
sbatch --wait --nodes=1 --exclusive --output="$folder/job.txt" "$job" >&2
code=$?
cat "$folder/job.txt"
exit "$code"
