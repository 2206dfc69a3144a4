/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/run_layout.h"

#include "base/progress.h"
#include "threads/topology.h"

td_status td_run_layout_parse(const char *text, td_layout *out) {
    TD_TRY(td_layout_parse(text, out));
    td_topology *topology;
    TD_TRY(td_topology_create_here(&topology));
    int pus = td_topology_get_info(topology)->pus, workers = out->ranks * out->workers;
    td_topology_destroy(topology);
    if (workers > pus && !out->over) {
        td_note(NULL, "%d workers share %d CPUs here; the answer is the same, the speed is not",
                workers, pus);
        out->over = true;
    }
    return TD_OK;
}
