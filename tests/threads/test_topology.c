/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "threads/topology.h"

/* A directory tree is written below a root; td_cgroup_quota reads it as if it were the system. */
typedef struct fixture_file {
    char path[96], text[160];
} fixture_file;

typedef struct quota_case {
    char name[56];
    double expected;
    fixture_file files[7];
} quota_case;

#define V2_MOUNT "35 24 0:31 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
#define V1_MOUNT "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
#define GROUP    "proc/self/cgroup"
#define MOUNTS   "proc/self/mountinfo"

static quota_case quota_cases[] = {
    {"v2 without a limit file",
     0,
     {{GROUP, "0::/\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/x", ""}}},
    {"v2 max",
     0,
     {{GROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/a/cpu.max", "max 100000\n"}}},
    {"v2 two CPUs",
     2,
     {{GROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/a/cpu.max", "200000 100000\n"}}},
    {"v2 limit on the parent only",
     1.5,
     {{GROUP, "0::/a/b\n"},
      {MOUNTS, V2_MOUNT},
      {"sys/fs/cgroup/a/cpu.max", "150000 100000\n"},
      {"sys/fs/cgroup/a/b/cpu.max", "max 100000\n"}}},
    {"v2 limit on the grandparent, larger on the leaf",
     0.5,
     {{GROUP, "0::/a/b/c\n"},
      {MOUNTS, V2_MOUNT},
      {"sys/fs/cgroup/a/cpu.max", "50000 100000\n"},
      {"sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n"}}},
    {"v2 malformed",
     -1,
     {{GROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/a/cpu.max", "lots\n"}}},
    {"v2 unreadable: a directory",
     -1,
     {{GROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/a/cpu.max/x", ""}}},
    {"v2 inside a cgroup namespace",
     3,
     {{GROUP, "0::/../../b\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/cpu.max", "300000 100000\n"}}},
    {"v1 without a limit",
     0,
     {{GROUP, "4:cpu,cpuacct:/\n"},
      {MOUNTS, V1_MOUNT},
      {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
      {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}}},
    {"v1 one CPU",
     1,
     {{GROUP, "9:cpuset:/\n4:cpu,cpuacct:/d\n"},
      {MOUNTS, V1_MOUNT},
      {"sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us", "100000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_period_us", "100000\n"}}},
    {"v1 mount that shows a subtree",
     2.5,
     {{GROUP, "4:cpuacct,cpu:/docker/77/app\n"},
      {MOUNTS, "32 31 0:29 /docker/77 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpuacct,cpu\n"},
      {"sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "250000\n"},
      {"sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000\n"}}},
    {"hybrid: v1 limits, v2 has no controllers",
     2,
     {{GROUP, "4:cpu:/a\n1:cpuset:/\n0::/\n"},
      {MOUNTS, "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
               "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
      {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n"},
      {"sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"},
      {"sys/fs/cgroup/unified/x", ""}}},
    {"cpuset is not the cpu controller",
     0,
     {{GROUP, "4:cpuset:/a\n"},
      {MOUNTS, "32 31 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"},
      {"sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us", "100000\n"},
      {"sys/fs/cgroup/cpuset/a/cpu.cfs_period_us", "100000\n"}}},
    {"no cgroups at all", 0, {{"proc/x", ""}}},
};

static void write_fixture(const char *root, const quota_case *c) {
    for (int i = 0; i < 7 && c->files[i].path[0]; i++) {
        char path[512], directory[512];
        snprintf(path, sizeof(path), "%s/%s", root, c->files[i].path);
        snprintf(directory, sizeof(directory), "%s", path);
        *strrchr(directory, '/') = '\0';
        cr_assert_eq(td_make_directory(directory), TD_OK, "%s", td_error());
        cr_assert_eq(td_file_write(path, c->files[i].text, strlen(c->files[i].text)), TD_OK);
    }
}

ParameterizedTestParameters(topology, quota) {
    return cr_make_param_array(quota_case, quota_cases,
                               sizeof(quota_cases) / sizeof(quota_cases[0]));
}

ParameterizedTest(quota_case *c, topology, quota) {
    char root[] = "/tmp/tandem-cgroup-XXXXXX", command[64];
    cr_assert_not_null(mkdtemp(root));
    write_fixture(root, c);
    double cpus = td_cgroup_quota(root);
    snprintf(command, sizeof(command), "rm -r %s", root);
    cr_assert_eq(system(command), 0);
    if (c->expected < 0) {
        cr_assert(cpus < 0, "%s: got %g, expected unreadable", c->name, cpus);
    } else {
        cr_assert(fabs(cpus - c->expected) <= 1e-12, "%s: got %g, expected %g", c->name, cpus,
                  c->expected);
    }
}

/* CPUs that cpusets leave of "pack:1 core:8 pu:1"; "all": none limits, "?": unreadable. */
typedef struct cpuset_case {
    char name[56], cpus[16];
    int effective;
    fixture_file files[7];
} cpuset_case;

#define V1_SET_MOUNT "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"

static cpuset_case cpuset_cases[] = {
    {"v2 effective set of the leaf",
     "0,2",
     2,
     {{GROUP, "0::/a\n"},
      {MOUNTS, V2_MOUNT},
      {"sys/fs/cgroup/a/cpuset.cpus", "\n"},
      {"sys/fs/cgroup/a/cpuset.cpus.effective", "0,2\n"}}},
    {"v2 set of an ancestor, the leaf without the controller",
     "4-7",
     4,
     {{GROUP, "0::/a/b\n"},
      {MOUNTS, V2_MOUNT},
      {"sys/fs/cgroup/a/cpuset.cpus.effective", "4-7\n"},
      {"sys/fs/cgroup/a/b/x", ""}}},
    {"v2 set and quota, the quota is less",
     "1-4",
     2,
     {{GROUP, "0::/a\n"},
      {MOUNTS, V2_MOUNT},
      {"sys/fs/cgroup/a/cpuset.cpus.effective", "1-4\n"},
      {"sys/fs/cgroup/a/cpu.max", "250000 100000\n"}}},
    {"v2 quota alone, a fraction",
     "all",
     1,
     {{GROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/a/cpu.max", "50000 100000\n"}}},
    {"v2 sets of leaf and ancestor meet",
     "2,3",
     2,
     {{GROUP, "0::/a/b\n"},
      {MOUNTS, V2_MOUNT},
      {"sys/fs/cgroup/a/cpuset.cpus.effective", "0-3\n"},
      {"sys/fs/cgroup/a/b/cpuset.cpus.effective", "2-5\n"}}},
    {"v2 malformed set",
     "?",
     8,
     {{GROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/a/cpuset.cpus.effective", "some\n"}}},
    {"v2 set that cannot be read: a directory",
     "?",
     8,
     {{GROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {"sys/fs/cgroup/a/cpuset.cpus.effective/x", ""}}},
    {"v1 set",
     "0,7",
     2,
     {{GROUP, "9:cpuset:/d\n4:cpu,cpuacct:/d\n"},
      {MOUNTS, V1_SET_MOUNT},
      {"sys/fs/cgroup/cpuset/d/cpuset.cpus", "0,7\n"}}},
    {"v1 effective set before the one asked for",
     "3",
     1,
     {{GROUP, "9:cpuset:/d\n"},
      {MOUNTS, V1_SET_MOUNT},
      {"sys/fs/cgroup/cpuset/d/cpuset.cpus", "0-3\n"},
      {"sys/fs/cgroup/cpuset/d/cpuset.effective_cpus", "3\n"}}},
    {"v1 set, quota in the other hierarchy",
     "0-3",
     1,
     {{GROUP, "9:cpuset:/d\n4:cpu,cpuacct:/d\n"},
      {MOUNTS, V1_SET_MOUNT V1_MOUNT},
      {"sys/fs/cgroup/cpuset/d/cpuset.cpus", "0-3\n"},
      {"sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us", "150000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_period_us", "100000\n"}}},
    {"v1 mount that shows a subtree",
     "5",
     1,
     {{GROUP, "9:cpuset:/docker/77/app\n"},
      {MOUNTS, "33 31 0:30 /docker/77 /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"},
      {"sys/fs/cgroup/cpuset/app/cpuset.cpus", "5\n"}}},
    {"hybrid: v1 set, v2 without controllers",
     "6,7",
     2,
     {{GROUP, "9:cpuset:/a\n0::/\n"},
      {MOUNTS, V1_SET_MOUNT "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
      {"sys/fs/cgroup/cpuset/a/cpuset.cpus", "6-7\n"},
      {"sys/fs/cgroup/unified/x", ""}}},
    {"a set that leaves nothing of this machine",
     "20-23",
     0,
     {{GROUP, "0::/a\n"},
      {MOUNTS, V2_MOUNT},
      {"sys/fs/cgroup/a/cpuset.cpus.effective", "20-23\n"}}},
    {"no cgroups at all", "all", 8, {{"proc/x", ""}}},
};

ParameterizedTestParameters(topology, cpuset) {
    return cr_make_param_array(cpuset_case, cpuset_cases,
                               sizeof(cpuset_cases) / sizeof(cpuset_cases[0]));
}

ParameterizedTest(cpuset_case *c, topology, cpuset) {
    char root[] = "/tmp/tandem-cgroup-XXXXXX", command[64], text[64] = "";
    quota_case written = {.name = "files only"};
    memcpy(written.files, c->files, sizeof(written.files));
    cr_assert_not_null(mkdtemp(root));
    write_fixture(root, &written);
    td_cpu_mask mask;
    td_status status = td_cgroup_cpus(root, &mask);
    td_topology *topology = NULL;
    td_status whole = td_topology_create_limited("pack:1 core:8 pu:1", root, &topology);
    snprintf(command, sizeof(command), "rm -r %s", root);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(whole, c->effective > 0 ? TD_OK : TD_EUSAGE, "%s: %s", c->name, td_error());
    if (status == TD_OK) {
        td_cpu_mask_print(&mask, text, sizeof(text));
    }
    cr_assert_str_eq(status == TD_OK      ? text
                     : status == TD_ESKIP ? "all"
                                          : "?",
                     c->cpus, "%s", c->name);
    if (topology) {
        const td_topology_info *info = td_topology_get_info(topology);
        cr_assert_eq(info->effective_cpus, c->effective, "%s: %d", c->name, info->effective_cpus);
        cr_assert_eq(info->pus, status == TD_OK ? td_cpu_mask_count(&mask) : 8);
        cr_assert_eq(strstr(info->odd, "cpuset cannot be read") != NULL, status == TD_EIO);
        td_topology_destroy(topology);
    }
}

typedef struct machine_case {
    char levels[64];
    int packages, numa, cores, pus;
} machine_case;

static machine_case machines[] = {
    {"pack:2 numa:1 l3:1 core:8 pu:2", 2, 2, 16, 32},
    {"pack:1 numa:1 l3:2 core:4 pu:2", 1, 1, 8, 16},
    {"pack:2 numa:2 die:1 core:3 pu:2", 2, 4, 12, 24},
    {"core:65 pu:2", 0, 1, 65, 130},
    {"pack:8 numa:4 core:32 pu:1", 8, 32, 1024, 1024},
    {"core:1 pu:1", 0, 1, 1, 1},
};

ParameterizedTestParameters(topology, synthetic_counts) {
    return cr_make_param_array(machine_case, machines, sizeof(machines) / sizeof(machines[0]));
}

ParameterizedTest(machine_case *c, topology, synthetic_counts) {
    td_topology *topology;
    cr_assert_eq(td_topology_create(c->levels, &topology), TD_OK, "%s", td_error());
    const td_topology_info *info = td_topology_get_info(topology);
    cr_assert(info->synthetic);
    cr_assert_eq(info->packages, c->packages);
    cr_assert_eq(info->numa_nodes, c->numa);
    cr_assert_eq(info->cores, c->cores);
    cr_assert_eq(info->pus, c->pus);
    cr_assert_eq(info->effective_cpus, c->pus,
                 "a limit of this machine must not touch a synthetic one");
    td_topology_destroy(topology);
}

typedef struct cache_case {
    char levels[64];
    int level, plausible;
    int64_t relied_on;
} cache_case;

static cache_case cache_cases[] = {
    {"pack:1 l3:1(size=32MB) core:8 pu:1", 3, 1, 32000000},
    /* What a virtual machine claimed: the host's whole L3 for a single core. */
    {"pack:1 l3:2(size=508MB) core:1 pu:1", 3, 0, 1 << 20},
    {"pack:1 l3:1(size=504MB) core:128 pu:1", 3, 1, 504000000},
    {"pack:1 l3:1(size=4KB) core:4 pu:1", 3, 0, 4 << 20},
    {"pack:1 l2:1(size=1GB) core:1 pu:1", 2, 0, 512 << 10},
    {"pack:1 l1:2(size=64KB) core:1 pu:1", 1, 1, 64000},
    {"pack:1 l1:2(size=2MB) core:1 pu:1", 1, 0, 32 << 10},
};

ParameterizedTestParameters(topology, cache_sanity) {
    return cr_make_param_array(cache_case, cache_cases,
                               sizeof(cache_cases) / sizeof(cache_cases[0]));
}

ParameterizedTest(cache_case *c, topology, cache_sanity) {
    td_topology *topology;
    cr_assert_eq(td_topology_create(c->levels, &topology), TD_OK, "%s", td_error());
    const td_topology_info *info = td_topology_get_info(topology);
    int found = 0;
    for (int i = 0; i < info->n_caches; i++) {
        const td_cache_info *cache = &info->caches[i];
        if (cache->level == c->level && !cache->instruction) {
            found++;
            cr_assert_eq(cache->plausible, c->plausible != 0, "%s: %ld bytes", c->levels,
                         (long)cache->bytes);
            cr_assert(labs((long)(cache->clamped_bytes - c->relied_on)) <= c->relied_on / 16,
                      "%s: relies on %ld", c->levels, (long)cache->clamped_bytes);
            cr_assert_eq(strstr(info->odd, "not plausible") == NULL, c->plausible != 0);
        }
    }
    cr_assert_eq(found, 1);
    td_topology_destroy(topology);
}

Test(topology, refuses_what_hwloc_refuses) {
    static const char *const bad[] = {"pack:1 core:2", "foo:3", "", "pack:0 pu:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        td_topology *topology;
        cr_assert_eq(td_topology_create(bad[i], &topology), TD_EUSAGE, "\"%s\"", bad[i]);
        cr_assert(strstr(td_error(), "pu"), "the message shows a form that works: %s", td_error());
    }
}

Test(topology, live_machine_is_restricted_by_affinity) {
    cpu_set_t all, one;
    cr_assert_eq(sched_getaffinity(0, sizeof(all), &all), 0);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    td_topology *topology;
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK, "%s", td_error());
    const td_topology_info *info = td_topology_get_info(topology);
    const int64_t all_memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    cr_assert_eq(info->pus, CPU_COUNT(&all));
    cr_assert_not(info->synthetic);
    cr_assert(info->memory_bytes > 0);
    cr_assert(info->memory_bytes >= all_memory || info->numa_nodes > 1 ||
              info->pus < info->pus_online);
    td_topology_destroy(topology);
    cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK, "%s", td_error());
    info = td_topology_get_info(topology);
    cr_assert_eq(info->pus, 1);
    cr_assert_eq(info->effective_cpus, 1);
    cr_assert_eq(strstr(info->odd, "affinity") != NULL, info->pus_online > 1, "%s", info->odd);
    td_topology_destroy(topology);
}

Test(topology, drawing_names_every_pu_and_worker_once) {
    td_topology *topology;
    cr_assert_eq(td_topology_create("pack:2 numa:1 l3:2 core:3 pu:2", &topology), TD_OK);
    int pu[] = {2, 2, 12, 23};
    td_topology_drawing drawing = {.pu = pu, .n_workers = 4, .workers_per_rank = 2, .columns = 80};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cr_assert_eq(td_topology_print(topology, &drawing, out), TD_OK);
    fclose(out);
    for (int i = 0; i < 24; i++) {
        char word[16];
        snprintf(word, sizeof(word), "PU %-2d ", i);
        const char *at = strstr(text, word);
        cr_assert(at && !strstr(at + 1, word), "PU %d is not drawn once:\n%s", i, text);
    }
    cr_assert(strstr(text, "PU 2  r0w0,r0w1") && strstr(text, "PU 23 r1w1"), "%s", text);
    cr_assert(strstr(text, "L3") && strstr(text, "package 1") && strstr(text, "NUMA node 1"), "%s",
              text);
    /* Bytes are at most three a column, so a longer line cannot be within the width. */
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        int width = 0;
        for (const char *at = line; *at != '\n'; at++) {
            width += (*at & 0xC0) != 0x80;
        }
        cr_assert(width <= 80, "%d columns", width);
    }
    free(text);
    td_topology_destroy(topology);
}

/* The boxes and cores of a walk, as one line of text. */
static void write_label(void *arg, const char *label) {
    td_text_printf(arg, "%.9s(", label);
}

static void write_core(void *arg, int number, const int *pu, int n_pus) {
    td_text_printf(arg, "%d:%d-%d ", number, pu[0], pu[n_pus - 1]);
}

static void write_end(void *arg) {
    td_text_puts(arg, ")");
}

Test(topology, a_walk_visits_boxes_and_cores) {
    static const td_topology_visitor visitor = {write_label, write_core, write_end};
    td_text text = {0};
    td_topology *t = NULL;
    cr_assert_eq(td_topology_create("pack:2 numa:1 l3:1 l2:2 core:1 pu:2", &t), TD_OK);
    td_topology_walk(t, &visitor, &text);
    cr_expect_str_eq(text.data, "machine(package 0(L3 16 MiB(0:0-1 1:2-3 ))"
                                "package 1(L3 16 MiB(2:4-5 3:6-7 )))");
    td_topology_destroy(t);
    td_text_destroy(&text);
}
