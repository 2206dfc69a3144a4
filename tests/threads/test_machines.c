/* SPDX-License-Identifier: Apache-2.0
 * Layouts on machines nobody here has, against hwloc's own tools. The table is what they answered;
 * where they are installed they are asked again.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "threads/layout.h"

enum { TEXT_BYTES = 8192 };

typedef struct placed_row {
    const char *machine, *layout, *pus, *locations;
} placed_row;

typedef struct spread_row {
    const char *machine;
    int ranks;
    const char *pus;
} spread_row;

#define TD_SPREAD(machine, ranks, pus)
#define TD_PLACED(machine, layout, pus, locations) {machine, layout, pus, locations},
static const placed_row placed[] = {
#include "tests/threads/machines.inc"
};
#undef TD_SPREAD
#undef TD_PLACED
#define TD_PLACED(machine, layout, pus, locations)
#define TD_SPREAD(machine, ranks, pus) {machine, ranks, pus},
static const spread_row spread[] = {
#include "tests/threads/machines.inc"
};
#undef TD_SPREAD
#undef TD_PLACED
enum {
    N_PLACED = sizeof placed / sizeof placed[0],
    N_SPREAD = sizeof spread / sizeof spread[0],
};

static bool in_xml(const char *machine) {
    size_t length = strlen(machine);
    return length > 4 && strcmp(machine + length - 4, ".xml") == 0;
}

static td_topology *load(const char *machine) {
    char path[512];
    snprintf(path, sizeof path, TD_MACHINES "/%s", machine);
    td_topology *topology;
    cr_assert_eq(td_topology_create(in_xml(machine) ? path : machine, &topology), TD_OK, "%s",
                 td_error());
    return topology;
}

/* What a tool prints on standard output, lines joined by `joint`; false when it is not installed.
 */
static bool ask(const char *tool, const char *machine, const char *arguments, char joint,
                char out[TEXT_BYTES]) {
    char command[1024], line[TEXT_BYTES];
    bool xml = in_xml(machine);
    snprintf(command, sizeof command,
             "command -v %s >/dev/null || exit 9; %s %s -i '%s%s' %s 2>/dev/null", tool, tool,
             xml ? "" : "--if synthetic", xml ? TD_MACHINES "/" : "", machine, arguments);
    FILE *pipe = popen(command, "re");
    cr_assert_not_null(pipe);
    size_t used = 0;
    while (fgets(line, sizeof line, pipe)) {
        line[strcspn(line, "\n")] = '\0';
        used += (size_t)snprintf(out + used, TEXT_BYTES - used, "%.*s%s", used > 0, &joint, line);
        cr_assert_lt(used, TEXT_BYTES);
    }
    int code = pclose(pipe);
    if (code == 9 << 8) {
        return false;
    }
    cr_assert_eq(code, 0, "%s ended with %d", command, code);
    return true;
}

/* The next of several parts in *rest, which are separated by bars. */
static char *next_part(char **rest) {
    return strsep(rest, "|");
}

/* "0-3,8" for what hwloc-calc prints ("0,1,2,3,8"), in its order. */
static void tidy_list(const char *text, char *out, size_t bytes) {
    int cpu[TD_MAX_PUS], count;
    cr_assert_eq(td_cpu_list_parse(text, strlen(text), TD_MAX_PUS, cpu, &count), TD_OK, "%s",
                 td_error());
    td_cpu_list_print(cpu, count, out, bytes);
}

Test(machines, layouts_are_placed_as_in_the_table) {
    for (int i = 0; i < N_PLACED; i++) {
        const placed_row *row = &placed[i];
        td_topology *topology = load(row->machine);
        td_layout layout;
        static int pu[TD_MAX_WORKERS];
        char text[TEXT_BYTES] = "";
        cr_assert_eq(td_layout_parse(row->layout, &layout), TD_OK, "%s", td_error());
        cr_assert_eq(td_layout_resolve(&layout, topology, pu), TD_OK, "%s on %s: %s", row->layout,
                     row->machine, td_error());
        for (int rank = 0, used = 0; rank < layout.ranks; rank++) {
            used += snprintf(text + used, sizeof text - (size_t)used, "%s", rank ? "|" : "");
            used += td_cpu_list_print(pu + rank * layout.workers, layout.workers, text + used,
                                      sizeof text - (size_t)used);
        }
        cr_expect_str_eq(text, row->pus, "%s on %s: %s, expected %s", row->layout, row->machine,
                         text, row->pus);
        td_topology_destroy(topology);
    }
}

Test(machines, ranks_are_spread_as_in_the_table) {
    for (int i = 0; i < N_SPREAD; i++) {
        const spread_row *row = &spread[i];
        td_topology *topology = load(row->machine);
        char text[TEXT_BYTES] = "", name[64];
        snprintf(name, sizeof name, "p%dxt1@machine:core:spread", row->ranks);
        td_layout layout;
        cr_assert_eq(td_layout_parse(name, &layout), TD_OK, "%s", td_error());
        for (int rank = 0, used = 0; rank < layout.ranks; rank++) {
            td_cpu_mask mask;
            cr_assert_eq(td_layout_share(&layout, topology, rank, &mask), TD_OK, "%s", td_error());
            used += snprintf(text + used, sizeof text - (size_t)used, "%s", rank ? "|" : "");
            used += td_cpu_mask_print(&mask, text + used, sizeof text - (size_t)used);
        }
        cr_expect_str_eq(text, row->pus, "%s on %s: %s, expected %s", name, row->machine, text,
                         row->pus);
        td_topology_destroy(topology);
    }
}

/* Both tests below hold trivially where hwloc's tools are missing; the table stays what it is. */
Test(machines, hwloc_calc_says_the_same) {
    for (int i = 0; i < N_PLACED; i++) {
        const placed_row *row = &placed[i];
        char locations[TEXT_BYTES], answer[TEXT_BYTES], part[TEXT_BYTES], all[TEXT_BYTES] = "";
        snprintf(locations, sizeof locations, "%s", row->locations);
        char *rest = locations;
        size_t used = 0;
        for (char *one; (one = next_part(&rest));) {
            char arguments[256];
            snprintf(arguments, sizeof arguments, "--po -I PU '%s'", one);
            if (!ask("hwloc-calc", row->machine, arguments, ' ', answer)) {
                return;
            }
            tidy_list(answer, part, sizeof part);
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", used ? "|" : "", part);
        }
        cr_expect_str_eq(all, row->pus, "%s: hwloc-calc %s says %s, the table %s", row->machine,
                         row->locations, all, row->pus);
    }
}

/* hwloc's sets are words of 32 bits in hexadecimal, the most significant first. */
static void print_set(char *set, char *out, size_t bytes) {
    td_cpu_mask mask = {0};
    int words = 1, cpu = 0;
    for (const char *at = set; *at; at++) {
        words += *at == ',';
    }
    char *rest = set;
    for (char *word; (word = strsep(&rest, ","));) {
        unsigned long bits = strtoul(word, NULL, 16);
        words--;
        for (cpu = 0; cpu < 32; cpu++) {
            if (bits >> cpu & 1) {
                cr_assert(td_cpu_mask_add(&mask, words * 32 + cpu));
            }
        }
    }
    td_cpu_mask_print(&mask, out, bytes);
}

Test(machines, hwloc_distrib_says_the_same) {
    for (int i = 0; i < N_SPREAD; i++) {
        const spread_row *row = &spread[i];
        char answer[TEXT_BYTES], arguments[32], part[TEXT_BYTES], all[TEXT_BYTES] = "";
        snprintf(arguments, sizeof arguments, "%d", row->ranks);
        if (!ask("hwloc-distrib", row->machine, arguments, '|', answer)) {
            return;
        }
        char *rest = answer;
        size_t used = 0;
        for (char *one; (one = next_part(&rest));) {
            print_set(one, part, sizeof part);
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", used ? "|" : "", part);
        }
        cr_expect_str_eq(all, row->pus, "%s: hwloc-distrib %d says %s, the table %s", row->machine,
                         row->ranks, all, row->pus);
    }
}

Test(machines, table_covers_many_machines) {
    int machines = 0;
    const char *seen[N_PLACED];
    for (int i = 0; i < N_PLACED; i++) {
        bool known = false;
        for (int j = 0; j < machines && !known; j++) {
            known = strcmp(seen[j], placed[i].machine) == 0;
        }
        if (!known) {
            seen[machines++] = placed[i].machine;
        }
    }
    cr_assert_geq(machines, 60);
}

/* Two nodes of one package (DDR and HBM) are one place for a rank, and a node that spans the
 * packages is none beside their own: no PU is given twice. */
Test(machines, memory_nodes_that_share_cpus_are_one_scope) {
    td_topology *topology = load("hbm.xml");
    cr_assert_eq(td_topology_get_info(topology)->numa_nodes, 4);
    td_layout layout;
    int pu[4];
    cr_assert_eq(td_layout_parse("p4xt1@numa:core", &layout), TD_OK);
    cr_assert_eq(td_layout_resolve(&layout, topology, pu), TD_OK, "%s", td_error());
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(pu[i], 2 * i, "rank %d is on PU %d", i, pu[i]);
    }
    td_topology_destroy(topology);
}

Test(machines, a_file_that_is_none) {
    td_topology *topology;
    cr_assert_eq(td_topology_create("/nowhere/machine.xml", &topology), TD_EUSAGE);
    cr_assert(strstr(td_error(), "/nowhere/machine.xml: No such file"), "%s", td_error());
    cr_assert_eq(td_topology_create("/proc/self/status", &topology), TD_EUSAGE);
    cr_assert(strstr(td_error(), "topology file /proc/self/status"), "%s", td_error());
}

Test(machines, environment_names_another_machine) {
    td_topology *topology;
    setenv("HWLOC_SYNTHETIC", "pack:3 core:5 pu:2", 1);
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK, "%s", td_error());
    cr_assert(td_topology_get_info(topology)->synthetic);
    cr_assert_eq(td_topology_get_info(topology)->pus, 30);
    td_topology_destroy(topology);
    cr_assert_eq(td_topology_create_here(&topology), TD_EUSAGE);
    cr_assert(strstr(td_error(), "another machine"), "%s", td_error());
    unsetenv("HWLOC_SYNTHETIC");
    setenv("HWLOC_XMLFILE", TD_MACHINES "/holes.xml", 1);
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK, "%s", td_error());
    cr_assert_eq(td_topology_get_info(topology)->pus, 8);
    td_topology_destroy(topology);
    unsetenv("HWLOC_XMLFILE");
    cr_assert_eq(td_topology_create_here(&topology), TD_OK, "%s", td_error());
    td_topology_destroy(topology);
}
