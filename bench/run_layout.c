/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/run_layout.h"

#include "base/progress.h"
#include "threads/layout_foreign.h"
#include "threads/mpi_ranks.h"
#include "threads/wait.h"

td_status td_run_layout_parse(const char *text, td_layout *out) {
    td_topology *topology;
    TD_TRY(td_wait_calibrate());
    TD_TRY(td_topology_create_here(&topology));
    td_status status = td_layout_read(text, topology, out);
    int pus = td_topology_get_info(topology)->pus;
    td_topology_destroy(topology);
    TD_TRY(status);
    int workers = out->ranks * out->workers;
    if (out->kind == TD_RANK_MPI && out->ranks > 1) {
        out->over = true; /* a rank may see the CPUs it was bound to, and no others */
        TD_TRY(td_mpi_start());
        return td_mpi_hosts() == 1
                   ? TD_OK
                   : td_fail(TD_EUSAGE,
                             "layout %s: its ranks are on %d hosts (%s, %s ...); this works in "
                             "memory that all ranks have in common, expected one host",
                             text, td_mpi_hosts(), td_mpi_host_name(0),
                             td_mpi_host_name(td_mpi_ranks() - 1));
    }
    if (workers > pus && !out->over) {
        td_note(NULL, "%d workers share %d CPUs here; the answer is the same, the speed is not",
                workers, pus);
        out->over = true;
    }
    return TD_OK;
}
