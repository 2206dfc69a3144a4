/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/text.h"
#include "threads/layout_foreign.h"
#include "threads/topology.h"

typedef struct topo_options {
    const char *topology, *layout, *root, *export;
    bool json;
} topo_options;

static const td_option options_table[] = {
    {"topology", TD_OPTION_TEXT, offsetof(topo_options, topology), 0, 0, NULL, "MACHINE",
     "another machine: a file in hwloc's XML, or levels as in \"pack:2 numa:1 l3:1 core:8 pu:2\""},
    {"layout", TD_OPTION_TEXT, offsetof(topo_options, layout), 0, 0, NULL, "LAYOUT",
     "show the PU of each worker; env: as Slurm, MPI and OpenMP variables ask for; else "
     "p<ranks>xt<workers>[:kind][@scope:unit[:order]|@cpus{LIST}|@none]"
     "[+option]"},
    {"root", TD_OPTION_TEXT, offsetof(topo_options, root), 0, 0, NULL, "DIR",
     "as limited by the control groups described in DIR/proc/self and DIR/sys/fs/cgroup"},
    {"export", TD_OPTION_TEXT, offsetof(topo_options, export), 0, 0, NULL, "FORM",
     "print how mpirun, srun, omp or hwloc-bind start COMMAND under the same binding"},
    {"json", TD_OPTION_FLAG, offsetof(topo_options, json), 0, 0, NULL, NULL, "print JSON instead"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]) };

static const td_verb_help verb_help = {
    "tandem topo [--topology MACHINE] [--layout LAYOUT] [--export FORM] [--root DIR] [--json]",
    "Draws the machine as this process may use it (affinity, cpuset and cgroup limits applied), "
    "and which PU each "
    "worker of a layout is bound to; docs/layouts.md says what the parts of a layout mean.\n"
    "Exit codes: 0 good, 2 a mistake in the command, a layout or a machine, or more workers than "
    "CPUs without +over, 3 what the system refuses.",
    "  tandem topo --layout p2xt1:process\n"
    "  tandem topo --topology \"pack:2 numa:1 core:8 pu:2\" --layout p2xt4:process@package:core\n"
    "  tandem topo --layout p2xt4@package:core --export mpirun\n"};

static json_t *layout_json(const td_layout *layout, const int *pu) {
    char text[TD_LAYOUT_TEXT];
    td_layout_print(layout, text);
    json_t *workers = json_array();
    for (int i = 0; i < layout->ranks * layout->workers; i++) {
        json_array_append_new(workers, json_pack("{s:i, s:i, s:i}", "rank", i / layout->workers,
                                                 "worker", i % layout->workers, "pu", pu[i]));
    }
    return json_pack("{s:s, s:o}", "layout", text, "workers", workers);
}

static td_status print_json(const td_topology *topology, const td_layout *layout, const int *pu) {
    const td_topology_info *info = td_topology_get_info(topology);
    json_t *caches = json_array();
    for (int i = 0; i < info->n_caches; i++) {
        const td_cache_info *cache = &info->caches[i];
        json_array_append_new(
            caches, json_pack("{s:i, s:b, s:I, s:I, s:i, s:b}", "level", cache->level,
                              "instruction", cache->instruction, "bytes", (json_int_t)cache->bytes,
                              "relied_on_bytes", (json_int_t)cache->clamped_bytes, "count",
                              cache->count, "plausible", cache->plausible));
    }
    json_t *root = json_pack("{s:b, s:i, s:i, s:i, s:i, s:i, s:f, s:i, s:I, s:s, s:o}", "synthetic",
                             info->synthetic, "packages", info->packages, "numa_nodes",
                             info->numa_nodes, "cores", info->cores, "pus", info->pus, "pus_online",
                             info->pus_online, "quota_cpus", info->quota_cpus, "effective_cpus",
                             info->effective_cpus, "memory_bytes", (json_int_t)info->memory_bytes,
                             "odd", info->odd, "caches", caches);
    if (root && layout) {
        json_object_set_new(root, "placement", layout_json(layout, pu));
    }
    if (!root || json_dumpf(root, stdout, JSON_INDENT(2)) != 0) {
        json_decref(root);
        return td_fail(TD_ENOMEM, "the JSON of a topology");
    }
    printf("\n");
    json_decref(root);
    return TD_OK;
}

static td_status print_text(const td_topology *topology, const td_layout *layout, const int *pu) {
    const td_topology_info *info = td_topology_get_info(topology);
    char text[256];
    td_topology_summary(topology, text, sizeof(text));
    printf("%s\n", text);
    if (layout) {
        char name[TD_LAYOUT_TEXT];
        td_layout_print(layout, name);
        printf("%s: %d rank%s of %d worker%s\n", name, layout->ranks, layout->ranks == 1 ? "" : "s",
               layout->workers, layout->workers == 1 ? "" : "s");
    }
    printf("\n");
    struct winsize window = {0};
    bool terminal = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0;
    td_topology_drawing drawing = {.pu = pu,
                                   .n_workers = layout ? layout->ranks * layout->workers : 0,
                                   .workers_per_rank = layout ? layout->workers : 1,
                                   .columns = window.ws_col,
                                   .color = terminal && !getenv("NO_COLOR")};
    TD_TRY(td_topology_print(topology, &drawing, stdout));
    for (const char *at = info->odd; *at;) {
        size_t length = strcspn(at, ";");
        printf("\nnote: %.*s", (int)length, at);
        at += length;
        at += strspn(at, "; ");
    }
    printf(info->odd[0] ? "\n" : "");
    return TD_OK;
}

/* Says on standard error which variables asked for what was read from the environment. */
static td_status read_layout(const char *text, const td_topology *topology, td_layout *out) {
    if (strcmp(text, "env") != 0) {
        return td_layout_parse(text, out);
    }
    td_text used = {0};
    char name[TD_LAYOUT_TEXT];
    td_status status = td_layout_import(topology, out, &used);
    if (status == TD_OK) {
        td_layout_print(out, name);
        td_note(NULL, "%s, from %s", name, used.failed ? "the environment" : used.data);
    }
    td_text_destroy(&used);
    return status;
}

static td_status print_export(const char *form, const td_layout *layout,
                              const td_topology *topology) {
    td_text lines = {0};
    td_status status = td_layout_export(form, layout, topology, &lines);
    if (status == TD_OK) {
        fputs(lines.data, stdout);
    }
    td_text_destroy(&lines);
    return status;
}

static td_status show(const topo_options *options, const td_topology *topology) {
    td_layout layout;
    int *pu = NULL;
    if (options->layout) {
        TD_TRY(read_layout(options->layout, topology, &layout));
        if (options->export) {
            return print_export(options->export, &layout, topology);
        }
        pu = td_alloc((size_t)layout.ranks * (size_t)layout.workers * sizeof(*pu));
        if (!pu) {
            return td_fail(TD_ENOMEM, "the PUs of %d workers", layout.ranks * layout.workers);
        }
        td_status status = td_layout_resolve(&layout, topology, pu);
        if (status != TD_OK) {
            td_free(pu);
            return status;
        }
    }
    td_status status = options->json ? print_json(topology, pu ? &layout : NULL, pu)
                                     : print_text(topology, pu ? &layout : NULL, pu);
    td_free(pu);
    return status;
}

td_status td_verb_topo(int argc, char **argv) {
    topo_options options = {0};
    const char *words[1];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &options, words, 0, &n_words,
                            &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &options);
        return TD_OK;
    }
    if (options.export && !options.layout) {
        return td_fail(TD_EUSAGE, "--export is of a layout: give --layout");
    }
    td_topology *topology;
    TD_TRY(td_topology_create_limited(options.topology, options.root, &topology));
    td_status status = show(&options, topology);
    td_topology_destroy(topology);
    return status;
}
