/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/memory.h"
#include "threads/layout_foreign.h"

enum { LIST_BYTES = 6 * TD_MAX_WORKERS };

typedef struct exporter {
    const td_layout *layout;
    const int *pu;
    int n_pus; /* of the machine */
    td_text *out;
} exporter;

static const int *pus_of(const exporter *e, int rank) {
    return e->pu + (size_t)rank * (size_t)e->layout->workers;
}

static td_cpu_mask mask_of(const exporter *e, int rank) {
    td_cpu_mask mask = {0};
    for (int i = 0; i < e->layout->workers; i++) {
        td_cpu_mask_add(&mask, pus_of(e, rank)[i]);
    }
    return mask;
}

/* One place a worker, in its order: OpenMP binds thread i to place i. */
static void put_omp(const exporter *e, int rank) {
    td_text_printf(e->out, "OMP_NUM_THREADS=%d ", e->layout->workers);
    if (e->layout->unbound) {
        td_text_puts(e->out, "OMP_PROC_BIND=false");
        return;
    }
    td_text_puts(e->out, "OMP_PROC_BIND=close OMP_PLACES='");
    for (int i = 0; i < e->layout->workers; i++) {
        td_text_printf(e->out, "%s{%d}", i ? "," : "", pus_of(e, rank)[i]);
    }
    td_text_puts(e->out, "'");
}

static void put_command(const exporter *e) {
    td_text_printf(e->out, "%sCOMMAND", e->layout->interleave ? "numactl --interleave=all " : "");
}

static void export_omp(const exporter *e) {
    for (int rank = 0; rank < e->layout->ranks; rank++) {
        put_omp(e, rank);
        td_text_puts(e->out, " ");
        put_command(e);
        td_text_puts(e->out, "\n");
    }
}

/* hwloc-bind takes numbers and ranges one by one. */
static void export_hwloc_bind(const exporter *e) {
    for (int rank = 0; rank < e->layout->ranks; rank++) {
        if (!e->layout->unbound) {
            char list[LIST_BYTES], *rest = list;
            td_cpu_mask mask = mask_of(e, rank);
            td_cpu_mask_print(&mask, list, sizeof list);
            td_text_puts(e->out, "hwloc-bind --physical");
            for (char *part; (part = strsep(&rest, ","));) {
                td_text_printf(e->out, " pu:%s", part);
            }
            td_text_puts(e->out, " -- ");
        }
        put_command(e);
        td_text_puts(e->out, "\n");
    }
}

/* One application context a rank: exact for every layout, and understood by Open MPI and MPICH
 * alike, where maps and policies differ between the two and between their versions. */
static void export_mpirun(const exporter *e) {
    td_text_puts(e->out, "mpirun --bind-to none");
    for (int rank = 0; rank < e->layout->ranks; rank++) {
        td_text_printf(e->out, "%s -np 1 env ", rank ? " :" : "");
        put_omp(e, rank);
        if (!e->layout->unbound) {
            char list[LIST_BYTES];
            td_cpu_mask mask = mask_of(e, rank);
            td_cpu_mask_print(&mask, list, sizeof list);
            td_text_printf(e->out, " taskset -c %s", list);
        }
        td_text_puts(e->out, " ");
        put_command(e);
    }
    td_text_puts(e->out, "\n");
}

/* Slurm binds a task to its mask; threads find their places within it. A step that asks for more
 * CPUs than there are waits for ever, with --overcommit too: such a one asks for none. */
static void export_srun(const exporter *e) {
    const td_layout *layout = e->layout;
    td_text_printf(e->out, "OMP_NUM_THREADS=%d OMP_PROC_BIND=%s srun --nodes=1 --ntasks=%d ",
                   layout->workers, layout->unbound ? "false" : "close OMP_PLACES=threads",
                   layout->ranks);
    if (layout->over || layout->ranks * layout->workers > e->n_pus) {
        td_text_puts(e->out, "--overcommit --cpu-bind=");
    } else {
        td_text_printf(e->out, "--cpus-per-task=%d --cpu-bind=", layout->workers);
    }
    td_text_puts(e->out, layout->unbound ? "none" : "mask_cpu:");
    for (int rank = 0; rank < layout->ranks && !layout->unbound; rank++) {
        char hex[TD_MAX_PUS / 4 + 8];
        td_cpu_mask mask = mask_of(e, rank);
        td_cpu_mask_print_hex(&mask, hex, sizeof hex);
        td_text_printf(e->out, "%s%s", rank ? "," : "", hex);
    }
    td_text_puts(e->out, " ");
    put_command(e);
    td_text_puts(e->out, "\n");
}

td_status td_layout_export(const char *form, const td_layout *layout, const td_topology *topology,
                           td_text *out) {
    static const struct {
        const char *name;
        void (*put)(const exporter *);
    } forms[] = {{"mpirun", export_mpirun},
                 {"srun", export_srun},
                 {"omp", export_omp},
                 {"hwloc-bind", export_hwloc_bind}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(forms[i].name, form) == 0) {
            int pu[TD_MAX_WORKERS];
            TD_TRY(td_layout_resolve(layout, topology, pu));
            forms[i].put(&(exporter){.layout = layout,
                                     .pu = pu,
                                     .n_pus = td_topology_get_info(topology)->pus,
                                     .out = out});
            return td_text_status(out);
        }
    }
    return td_fail(TD_EUSAGE, "export as \"%s\"; expected mpirun, srun, omp or hwloc-bind", form);
}
