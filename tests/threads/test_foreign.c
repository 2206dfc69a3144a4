/* SPDX-License-Identifier: Apache-2.0
 * Layouts from the variables of launchers and OpenMP, and back.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

#include "threads/layout_foreign.h"

/* What this test may find set where it runs. */
static const char *const known[] = {"SLURM_STEP_TASKS_PER_NODE",
                                    "SLURM_TASKS_PER_NODE",
                                    "SLURM_NTASKS_PER_NODE",
                                    "SLURM_NTASKS",
                                    "SLURM_CPUS_PER_TASK",
                                    "SLURM_CPU_BIND",
                                    "OMPI_COMM_WORLD_LOCAL_SIZE",
                                    "MPI_LOCALNRANKS",
                                    "OMPI_MCA_hwloc_base_binding_policy",
                                    "OMPI_MCA_rmaps_base_mapping_policy",
                                    "PRTE_MCA_hwloc_default_binding_policy",
                                    "PRTE_MCA_rmaps_default_mapping_policy",
                                    "OMP_NUM_THREADS",
                                    "OMP_PLACES",
                                    "OMP_PROC_BIND",
                                    "GOMP_CPU_AFFINITY",
                                    "KMP_AFFINITY"};

static void clear_environment(void) {
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        unsetenv(known[i]);
    }
}

/* Sets "NAME=value NAME='value' ..." up to the first word that is none; returns the rest. */
static const char *set_variables(const char *text) {
    for (;;) {
        const char *equals = strchr(text, '=');
        size_t name = strcspn(text, " ='\n");
        if (!equals || text[name] != '=') {
            return text;
        }
        char variable[64], value[4096];
        const char *from = equals + 1;
        bool quoted = *from == '\'';
        size_t length = strcspn(from + quoted, quoted ? "'" : " ");
        snprintf(variable, sizeof variable, "%.*s", (int)name, text);
        snprintf(value, sizeof value, "%.*s", (int)length, from + quoted);
        setenv(variable, value, 1);
        text = from + quoted + length + quoted;
        text += strspn(text, " ");
    }
}

typedef struct import_case {
    char variables[160], expected[96];
} import_case;

#define MACHINE "pack:2 numa:1 l3:1 core:8 pu:2"

/* The last column is a layout, or a part of the message that refuses. */
static import_case imports[] = {
    {"OMP_NUM_THREADS=4", "p1xt4"},
    {"OMP_NUM_THREADS=4,2", "p1xt4"},
    {"OMP_PLACES=cores", "p1xt16"},
    {"OMP_PLACES=cores(6) OMP_PROC_BIND=close", "p1xt6"},
    {"OMP_PLACES=threads OMP_NUM_THREADS=8", "p1xt8@machine:pu"},
    {"OMP_PLACES=sockets OMP_NUM_THREADS=2", "p1xt2@machine:package"},
    {"OMP_PLACES=ll_caches(2)", "p1xt2@machine:l3"},
    {"OMP_PLACES=numa_domains(2) OMP_PROC_BIND=spread", "p1xt2@machine:numa:spread"},
    {"OMP_PLACES=CORES OMP_PROC_BIND=spread OMP_NUM_THREADS=4", "p1xt4@machine:core:spread"},
    {"OMP_PLACES={0},{2},{4},{6}", "p1xt4@cpus{0,2,4,6}"},
    {"OMP_PLACES={0:2}:4:2", "p1xt4@cpus{0,2,4,6}"},
    {"OMP_PLACES={6}:4:-2", "p1xt4@cpus{6,4,2,0}"},
    {"OMP_PLACES={0,1},{16:2} OMP_NUM_THREADS=2", "p1xt2@cpus{0,16}"},
    {"OMP_PLACES={0}:8 OMP_NUM_THREADS=4 OMP_PROC_BIND=close", "p1xt4@cpus{0-3}"},
    {"OMP_PLACES={0}:8 OMP_NUM_THREADS=4 OMP_PROC_BIND=spread", "p1xt4@cpus{0,2,4,6}"},
    {"OMP_PLACES={0},{1} OMP_NUM_THREADS=4", "p1xt4@cpus{0,0,1,1}+over"},
    {"OMP_NUM_THREADS=4 OMP_PROC_BIND=false", "p1xt4@none"},
    {"OMP_PLACES={0},{1} OMP_PROC_BIND=false", "p1xt16@none"},
    {"GOMP_CPU_AFFINITY=0-3,8-11:2", "p1xt6@cpus{0-3,8,10}"},
    {"GOMP_CPU_AFFINITY=8-11 OMP_NUM_THREADS=2", "p1xt2@cpus{8,9}"},
    {"KMP_AFFINITY=granularity=fine,explicit,proclist=[3,0,5]", "p1xt3@cpus{3,0,5}"},
    {"KMP_AFFINITY=compact OMP_NUM_THREADS=3", "p1xt3"},
    {"SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=8", "p2xt8:process"},
    {"SLURM_TASKS_PER_NODE=4(x2) SLURM_NTASKS=8", "p4xt4:process"},
    {"SLURM_STEP_TASKS_PER_NODE=2 SLURM_TASKS_PER_NODE=8", "p2xt8:process"},
    {"SLURM_NTASKS_PER_NODE=2 SLURM_CPUS_PER_TASK=4 SLURM_CPU_BIND=quiet,mask_cpu:0xff,0xff0000",
     "p2xt4:process@cpus{0,2,4,6,16,18,20,22}"},
    {"SLURM_NTASKS=2 SLURM_CPU_BIND=mask_cpu:0x3,0x300000000", "p2xt2:process@cpus{0,1,32,33}"},
    {"SLURM_NTASKS=3 SLURM_CPU_BIND=verbose,map_cpu:0,16,2", "p3xt1:process@cpus{0,16,2}"},
    {"SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=4 SLURM_CPU_BIND=sockets",
     "p2xt4:process@package:core:scatter"},
    {"SLURM_NTASKS=4 SLURM_CPUS_PER_TASK=2 SLURM_CPU_BIND=threads", "p4xt2:process@machine:pu"},
    {"SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=4 SLURM_CPU_BIND=none", "p2xt4:process@none"},
    {"SLURM_NTASKS=1 SLURM_CPUS_PER_TASK=4 OMP_PLACES={1},{3},{5},{7}", "p1xt4@cpus{1,3,5,7}"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE=4 OMP_NUM_THREADS=4", "p4xt4:process"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE=2 OMPI_MCA_rmaps_base_mapping_policy=ppr:1:socket:pe=8",
     "p2xt8:process@package:core"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE=4 OMPI_MCA_rmaps_base_mapping_policy=socket:PE=2",
     "p4xt2:process@package:core:scatter"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE=2 PRTE_MCA_rmaps_default_mapping_policy=package:PE=3",
     "p2xt3:process@package:core:scatter"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE=8 OMPI_MCA_hwloc_base_binding_policy=hwthread OMP_NUM_THREADS=1",
     "p8xt1:process@machine:pu"},
    {"OMPI_COMM_WORLD_LOCAL_SIZE=2 OMPI_MCA_hwloc_base_binding_policy=none OMP_NUM_THREADS=1",
     "p2xt1:process@none"},
    {"MPI_LOCALNRANKS=4", "p4xt4:process"},
    {"MPI_LOCALNRANKS=2 OMP_PLACES={0},{1} OMP_NUM_THREADS=2", "p2xt2:process"},
    {"", "names no layout"},
    {"OMP_PLACES={0", "OMP_PLACES={0: expected places"},
    {"OMP_PLACES={0}-{3}", "expected places"},
    {"OMP_PLACES={5000}", "expected places"},
    {"OMP_PLACES=cors", "expected places"},
    {"OMP_PLACES={0}:4:-2", "expected places"},
    {"OMP_PLACES={0} OMP_PROC_BIND=primary", "a PU of its own"},
    {"GOMP_CPU_AFFINITY=x", "expected CPUs"},
    {"SLURM_NTASKS=2 SLURM_CPU_BIND=mask_cpu:0xzz", "expected a mask"},
    {"SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=4 SLURM_CPU_BIND=mask_cpu:0x3,0xc", "2 CPUs for 4"},
    {"SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=4 SLURM_CPU_BIND=map_cpu:0,1", "one CPU a rank"},
    {"SLURM_NTASKS=100", "expected 64 at most"},
};

ParameterizedTestParameters(foreign, imported) {
    return cr_make_param_array(import_case, imports, sizeof imports / sizeof imports[0]);
}

ParameterizedTest(import_case *c, foreign, imported) {
    td_topology *topology;
    td_layout layout;
    char text[TD_LAYOUT_TEXT];
    clear_environment();
    cr_assert_eq(td_topology_create(MACHINE, &topology), TD_OK, "%s", td_error());
    const char *rest = set_variables(c->variables);
    cr_assert_eq(*rest, '\0', "\"%s\" was not understood by the test", rest);
    td_text used = {0};
    td_status status = td_layout_import(topology, &layout, &used);
    if (c->expected[0] == 'p' && c->expected[1] >= '1' && c->expected[1] <= '9') {
        cr_assert_eq(status, TD_OK, "%s: %s", c->variables, td_error());
        td_layout_print(&layout, text);
        cr_assert_str_eq(text, c->expected, "%s: %s, expected %s", c->variables, text, c->expected);
        cr_assert(used.size > 0);
        /* What is printed is what is meant. */
        td_layout again;
        cr_assert_eq(td_layout_parse(text, &again), TD_OK, "%s", td_error());
        td_layout_print(&again, text);
        cr_assert_str_eq(text, c->expected);
    } else {
        cr_assert_eq(status, TD_EUSAGE, "%s was accepted", c->variables);
        cr_assert(strstr(td_error(), c->expected), "%s: %s", c->variables, td_error());
    }
    td_text_destroy(&used);
    td_topology_destroy(topology);
}

static const char *const machines[] = {MACHINE, "pack:4 numa:2 core:4 pu:2", "core:65 pu:2",
                                       "pack:2 core:4 pu:2(indexes=pu:core:package)"};
static const char *const layouts[] = {"p1xt1",
                                      "p1xt4",
                                      "p2xt4@package:core",
                                      "p4xt2@machine:pu",
                                      "p2xt3:thread@machine:core:spread",
                                      "p3xt2@cpus{5,1,9,3,7,0}",
                                      "p2xt2@none"};
enum {
    N_MACHINES = sizeof machines / sizeof machines[0],
    N_LAYOUTS = sizeof layouts / sizeof layouts[0]
};

typedef void check_fn(const td_layout *layout, const td_topology *topology, const int *pu,
                      const char *lines);

static void each(const char *form, check_fn *check) {
    int checked = 0;
    for (int m = 0; m < N_MACHINES; m++) {
        td_topology *topology;
        cr_assert_eq(td_topology_create(machines[m], &topology), TD_OK, "%s", td_error());
        for (int i = 0; i < N_LAYOUTS; i++) {
            td_layout layout;
            int pu[TD_MAX_WORKERS];
            td_text lines = {0};
            cr_assert_eq(td_layout_parse(layouts[i], &layout), TD_OK, "%s", td_error());
            if (td_layout_resolve(&layout, topology, pu) != TD_OK) {
                continue; /* no packages there */
            }
            cr_assert_eq(td_layout_export(form, &layout, topology, &lines), TD_OK, "%s",
                         td_error());
            clear_environment();
            check(&layout, topology, pu, lines.data);
            td_text_destroy(&lines);
            checked++;
        }
        td_topology_destroy(topology);
    }
    cr_assert_geq(checked, 20);
}

/* Line by line: the environment of rank r, imported, binds as rank r is bound. */
static void check_omp(const td_layout *layout, const td_topology *topology, const int *pu,
                      const char *lines) {
    const char *line = lines;
    for (int rank = 0; rank < layout->ranks; rank++) {
        const char *command = set_variables(line);
        cr_assert_eq(strncmp(command, "COMMAND\n", 8), 0, "%s", command);
        td_layout back;
        int again[TD_MAX_WORKERS];
        cr_assert_eq(td_layout_import(topology, &back, NULL), TD_OK, "%s", td_error());
        cr_assert_eq(back.ranks, 1);
        cr_assert_eq(back.workers, layout->workers);
        cr_assert_eq(td_layout_resolve(&back, topology, again), TD_OK, "%s", td_error());
        for (int w = 0; w < layout->workers; w++) {
            cr_assert_eq(again[w], pu[rank * layout->workers + w], "%s", lines);
        }
        line = command + 8;
    }
    cr_assert_eq(*line, '\0');
}

Test(foreign, omp_lines_bind_alike) {
    each("omp", check_omp);
}

static int ascending(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

/* Slurm sets what its options say; within a mask threads stand in ascending order. */
static void check_srun(const td_layout *layout, const td_topology *topology, const int *pu,
                       const char *lines) {
    char number[16], bind[4096] = "";
    const char *option = strstr(lines, "--cpu-bind=");
    cr_assert_not_null(option);
    snprintf(bind, sizeof bind, "%.*s", (int)strcspn(option + 11, " "), option + 11);
    set_variables(lines);
    snprintf(number, sizeof number, "%d", layout->ranks);
    setenv("SLURM_NTASKS", number, 1);
    snprintf(number, sizeof number, "%d", layout->workers);
    setenv("SLURM_CPUS_PER_TASK", number, 1);
    setenv("SLURM_CPU_BIND", bind, 1);
    if (layout->ranks == 1) {
        unsetenv("OMP_PLACES"); /* within the mask, which the machine here does not have */
    }
    td_layout back;
    int again[TD_MAX_WORKERS], sorted[TD_MAX_WORKERS];
    cr_assert_eq(td_layout_import(topology, &back, NULL), TD_OK, "%s", td_error());
    cr_assert_eq(back.ranks, layout->ranks);
    cr_assert_eq(back.workers, layout->workers);
    cr_assert_eq(td_layout_resolve(&back, topology, again), TD_OK, "%s", td_error());
    for (int rank = 0; rank < layout->ranks; rank++) {
        size_t n = (size_t)layout->workers;
        memcpy(sorted, pu + (size_t)rank * n, n * sizeof *pu);
        qsort(sorted, n, sizeof *sorted, ascending);
        cr_assert_eq(memcmp(sorted, again + (size_t)rank * n, n * sizeof *pu), 0, "%s", lines);
    }
}

Test(foreign, srun_lines_bind_alike) {
    each("srun", check_srun);
}

/* A context a rank, each with its own places and its own mask. */
static void check_mpirun(const td_layout *layout, const td_topology *topology, const int *pu,
                         const char *lines) {
    (void)topology;
    const char *at = lines;
    for (int rank = 0; rank < layout->ranks; rank++) {
        char places[2048] = "", list[2048];
        for (int w = 0, used = 0; w < layout->workers; w++) {
            used += snprintf(places + used, sizeof places - (size_t)used, "%s{%d}", w ? "," : "",
                             pu[rank * layout->workers + w]);
        }
        at = strstr(at, "-np 1 env ");
        cr_assert_not_null(at, "%s", lines);
        at += strlen("-np 1 env ");
        const char *end = strstr(at, " : ");
        size_t length = end ? (size_t)(end - at) : strlen(at);
        char context[4096];
        snprintf(context, sizeof context, "%.*s", (int)length, at);
        if (layout->unbound) {
            cr_assert(!strstr(context, "taskset") && strstr(context, "OMP_PROC_BIND=false"));
            continue;
        }
        cr_assert(strstr(context, places), "%s: no %s", context, places);
        const char *taskset = strstr(context, "taskset -c ");
        cr_assert_not_null(taskset);
        snprintf(list, sizeof list, "%.*s", (int)strcspn(taskset + 11, " "), taskset + 11);
        td_cpu_mask mask;
        cr_assert_eq(td_cpu_mask_parse(list, &mask), TD_OK, "%s", td_error());
        cr_assert_eq(td_cpu_mask_count(&mask), layout->workers);
        for (int w = 0; w < layout->workers; w++) {
            cr_assert(td_cpu_mask_has(&mask, pu[rank * layout->workers + w]));
        }
    }
    cr_assert_null(strstr(at, "-np 1 env "));
}

Test(foreign, mpirun_lines_bind_alike) {
    each("mpirun", check_mpirun);
}

static void check_hwloc_bind(const td_layout *layout, const td_topology *topology, const int *pu,
                             const char *lines) {
    (void)topology;
    char text[8192];
    snprintf(text, sizeof text, "%s", lines);
    char *rest = text;
    for (int rank = 0; rank < layout->ranks; rank++) {
        char *line = strsep(&rest, "\n");
        cr_assert_not_null(line);
        cr_assert_eq(strstr(line, "hwloc-bind --physical") == line, !layout->unbound, "%s", line);
        td_cpu_mask mask = {0};
        for (char *at = strstr(line, "pu:"); at; at = strstr(at + 3, "pu:")) {
            int first = 0, last = -1;
            if (sscanf(at + 3, "%d-%d", &first, &last) == 1) {
                last = first;
            }
            for (int cpu = first; cpu <= last; cpu++) {
                td_cpu_mask_add(&mask, cpu);
            }
        }
        cr_assert_eq(td_cpu_mask_count(&mask), layout->unbound ? 0 : layout->workers);
        for (int w = 0; w < layout->workers && !layout->unbound; w++) {
            cr_assert(td_cpu_mask_has(&mask, pu[rank * layout->workers + w]), "%s", line);
        }
    }
}

Test(foreign, hwloc_bind_lines_bind_alike) {
    each("hwloc-bind", check_hwloc_bind);
}

Test(foreign, other_forms_are_refused) {
    td_topology *topology;
    td_layout layout;
    td_text lines = {0};
    cr_assert_eq(td_topology_create(MACHINE, &topology), TD_OK);
    cr_assert_eq(td_layout_parse("p1xt2", &layout), TD_OK);
    cr_assert_eq(td_layout_export("pbs", &layout, topology, &lines), TD_EUSAGE);
    cr_assert(strstr(td_error(), "expected mpirun, srun, omp or hwloc-bind"), "%s", td_error());
    td_topology_destroy(topology);
}
