/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/topology.h"

#include <errno.h>
#include <hwloc.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

struct td_topology {
    hwloc_topology_t tree;
    td_topology_info info;
};

static void note_odd(td_topology_info *info, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void note_odd(td_topology_info *info, const char *format, ...) {
    size_t used = strlen(info->odd);
    if (used && used + 2 < sizeof(info->odd)) {
        strcat(info->odd, "; ");
        used += 2;
    }
    va_list list;
    va_start(list, format);
    vsnprintf(info->odd + used, sizeof(info->odd) - used, format, list);
    va_end(list);
}

/* What caches of sold machines look like, per level: the range of one instance, the most that one
 * core's share may be, and what blocking relies on when the report is outside. Virtual machines
 * copy a host's cache description without its sharing and so give one core hundreds of megabytes of
 * L3. The largest share sold today is 96 MiB (one core left enabled of a 3-D stacked die), the
 * largest instance about 0.5 GiB. */
static const struct {
    int64_t least, most, most_share, safe;
} cache_rules[] = {
    {0, 0, 0, 0},
    {8LL << 10, 512LL << 10, 512LL << 10, 32LL << 10},
    {64LL << 10, 64LL << 20, 16LL << 20, 512LL << 10},
    {512LL << 10, 1LL << 30, 96LL << 20, 1LL << 20},
    {1LL << 20, 64LL << 30, 8LL << 30, 1LL << 20},
};

static int cores_below(hwloc_topology_t tree, hwloc_obj_t cache) {
    int cores = hwloc_get_nbobjs_inside_cpuset_by_type(tree, cache->cpuset, HWLOC_OBJ_CORE);
    return cores > 0 ? cores : 1;
}

/* Read before the tree is restricted, so that a share is counted over all cores of the cache. */
static void read_caches(hwloc_topology_t tree, td_topology_info *info) {
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L1ICACHE,
                                             HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE,
                                             HWLOC_OBJ_L4CACHE};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        hwloc_obj_t first = hwloc_get_obj_by_type(tree, types[i], 0);
        /* A synthetic level without a size says nothing about bytes, so there is nothing to judge.
         */
        if (!first || first->attr->cache.size == 0) {
            continue;
        }
        td_cache_info *cache = &info->caches[info->n_caches++];
        cache->level = (int)first->attr->cache.depth;
        cache->instruction = types[i] == HWLOC_OBJ_L1ICACHE;
        cache->bytes = (int64_t)first->attr->cache.size;
        int64_t share = cache->bytes / cores_below(tree, first);
        cache->plausible = cache->bytes >= cache_rules[cache->level].least &&
                           cache->bytes <= cache_rules[cache->level].most &&
                           share <= cache_rules[cache->level].most_share;
        cache->clamped_bytes = cache->plausible
                                   ? cache->bytes
                                   : cache_rules[cache->level].safe * cores_below(tree, first);
        if (!cache->plausible) {
            note_odd(info,
                     "L%d%s of %.4g MiB for %d core%s is not plausible, %.4g MiB is relied on",
                     cache->level, cache->instruction ? "i" : "", (double)cache->bytes / (1 << 20),
                     cores_below(tree, first), cores_below(tree, first) == 1 ? "" : "s",
                     (double)cache->clamped_bytes / (1 << 20));
        }
    }
}

static void count_caches(hwloc_topology_t tree, td_topology_info *info) {
    for (int i = 0; i < info->n_caches; i++) {
        td_cache_info *cache = &info->caches[i];
        hwloc_obj_type_t type = HWLOC_OBJ_L1ICACHE;
        if (!cache->instruction) {
            type = (hwloc_obj_type_t)((int)HWLOC_OBJ_L1CACHE + cache->level - 1);
        }
        cache->count = hwloc_get_nbobjs_by_type(tree, type);
    }
}

/* Takes away what the control groups do not leave. A file that cannot be read is no reason to
 * guess: what the kernel allows stands, and the note says so. */
static void apply_cpuset(const char *root, hwloc_bitmap_t usable, td_topology_info *info) {
    td_cpu_mask cpus;
    td_status status = td_cgroup_cpus(root, &cpus);
    if (status == TD_EIO) {
        note_odd(info, "the cgroup's cpuset cannot be read");
    }
    for (int cpu = hwloc_bitmap_first(usable); status == TD_OK && cpu >= 0;
         cpu = hwloc_bitmap_next(usable, cpu)) {
        if (!td_cpu_mask_has(&cpus, cpu)) {
            hwloc_bitmap_clr(usable, (unsigned)cpu);
        }
    }
}

/* Leaves the PUs that the machine's administrator, the control groups and (of this machine) this
 * thread's affinity allow. root: NULL when no control group counts. */
static td_status restrict_to_usable(hwloc_topology_t tree, const char *root,
                                    td_topology_info *info) {
    hwloc_bitmap_t usable = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(tree));
    hwloc_bitmap_t bound = hwloc_bitmap_alloc();
    if (!usable || !bound) {
        hwloc_bitmap_free(usable);
        hwloc_bitmap_free(bound);
        return td_fail(TD_ENOMEM, "a CPU set");
    }
    if (!info->synthetic && hwloc_get_cpubind(tree, bound, HWLOC_CPUBIND_THREAD) != 0) {
        note_odd(info, "affinity cannot be read (%s)", strerror(errno));
    } else if (!info->synthetic) {
        hwloc_bitmap_and(usable, usable, bound);
    }
    if (root) {
        apply_cpuset(root, usable, info);
    }
    bool none = hwloc_bitmap_iszero(usable);
    int failed =
        none ? 0 : hwloc_topology_restrict(tree, usable, HWLOC_RESTRICT_FLAG_REMOVE_CPULESS);
    int error = errno;
    hwloc_bitmap_free(usable);
    hwloc_bitmap_free(bound);
    if (none) {
        return td_fail(TD_EUSAGE, "the cgroup's cpuset leaves no PU of this machine");
    }
    return failed
               ? td_fail(TD_ESYS, "restrict the topology to the usable CPUs: %s", strerror(error))
               : TD_OK;
}

static void apply_quota(const char *root, td_topology_info *info) {
    info->quota_cpus = root ? td_cgroup_quota(root) : 0;
    info->effective_cpus = info->pus;
    if (info->quota_cpus < 0) {
        note_odd(info, "the cgroup's CPU limit cannot be read");
    } else if (info->quota_cpus > 0 && info->quota_cpus < info->pus) {
        info->effective_cpus = info->quota_cpus < 1 ? 1 : (int)info->quota_cpus;
        note_odd(info, "the cgroup limits %d PUs to %.3g CPUs", info->pus, info->quota_cpus);
    }
}

/* A path, when it names a file or looks like one in XML; else levels. */
static bool is_file(const char *machine) {
    size_t length = strlen(machine);
    return access(machine, F_OK) == 0 || (length > 4 && strcmp(machine + length - 4, ".xml") == 0);
}

static td_status set_machine(hwloc_topology_t tree, const char *machine) {
    if (!machine) {
        return TD_OK;
    }
    if (is_file(machine)) {
        return hwloc_topology_set_xml(tree, machine) == 0
                   ? TD_OK
                   : td_fail(TD_EUSAGE, "topology file %s: %s", machine,
                             access(machine, R_OK) != 0 ? strerror(errno)
                                                        : "not hwloc's XML of a machine");
    }
    return hwloc_topology_set_synthetic(tree, machine) == 0
               ? TD_OK
               : td_fail(TD_EUSAGE,
                         "topology \"%s\" is not one hwloc understands; expected a file in its "
                         "XML, or levels down to pu, as in \"pack:2 numa:1 l3:1 core:8 pu:2\"",
                         machine);
}

/* hwloc asks for ever larger masks until one is large enough, also where each is refused. */
static td_status check_affinity(void) {
    td_cpu_mask mask;
    return sched_getaffinity(0, sizeof mask, (cpu_set_t *)&mask) == 0
               ? TD_OK
               : td_fail(TD_ESYS, "the CPUs that this process may use: sched_getaffinity: %s",
                         strerror(errno));
}

static td_status load_tree(const char *machine, td_topology *topology) {
    TD_TRY(check_affinity());
    if (hwloc_topology_init(&topology->tree) != 0) {
        topology->tree = NULL;
        return td_fail(TD_ENOMEM, "a topology");
    }
    TD_TRY(set_machine(topology->tree, machine));
    /* Caches keep their place in the tree even when a level above has the same PUs: "@l3" must find
     * them. */
    hwloc_topology_set_type_filter(topology->tree, HWLOC_OBJ_L1ICACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_type_filter(topology->tree, HWLOC_OBJ_DIE, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(topology->tree) != 0) {
        return machine
                   ? td_fail(TD_EUSAGE, "topology file %s is not a machine hwloc can load", machine)
                   : td_fail(TD_ESYS, "load the topology: %s", strerror(errno));
    }
    return TD_OK;
}

/* Some guests count a part of their memory for the node and all of it for the machine: where there
 * is one node, it has all. */
static void read_memory(hwloc_topology_t tree, td_topology_info *info) {
    const int64_t all = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    const bool one = hwloc_bitmap_weight(hwloc_topology_get_complete_nodeset(tree)) == 1;
    info->numa_nodes = hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_NUMANODE);
    for (int i = 0; i < info->numa_nodes; i++) {
        hwloc_uint64_t *bytes = &hwloc_get_obj_by_type(tree, HWLOC_OBJ_NUMANODE, (unsigned)i)
                                     ->attr->numanode.local_memory;
        if (one && !info->synthetic && (hwloc_uint64_t)all > *bytes) {
            *bytes = (hwloc_uint64_t)all;
        }
        info->memory_bytes += (int64_t)*bytes;
    }
}

static td_status load(const char *machine, const char *root, td_topology *topology) {
    td_topology_info *info = &topology->info;
    TD_TRY(load_tree(machine, topology));
    hwloc_topology_t tree = topology->tree;
    info->synthetic = !hwloc_topology_is_thissystem(tree);
    root = root || info->synthetic ? root : "";
    info->pus_online = hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_PU);
    read_caches(tree, info);
    TD_TRY(restrict_to_usable(tree, root, info));
    count_caches(tree, info);
    info->pus = hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_PU);
    info->cores = hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_CORE);
    info->packages = hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_PACKAGE);
    read_memory(tree, info);
    hwloc_const_bitmap_t all = hwloc_topology_get_topology_cpuset(tree);
    if (info->pus < 1 || hwloc_bitmap_last(all) >= TD_MAX_PUS) {
        return td_fail(TD_EUSAGE,
                       "topology with %d PUs, the last being number %d; expected 1 or "
                       "more, numbered below %d",
                       info->pus, hwloc_bitmap_last(all), TD_MAX_PUS);
    }
    if (info->pus < info->pus_online) {
        note_odd(info, "affinity or cpuset leaves %d of %d PUs", info->pus, info->pus_online);
    }
    apply_quota(root, info);
    return TD_OK;
}

td_status td_topology_create_limited(const char *machine, const char *root, td_topology **out) {
    td_topology *topology = td_alloc_zero(sizeof(*topology));
    if (!topology) {
        return td_fail(TD_ENOMEM, "a topology");
    }
    td_status status = load(machine, root, topology);
    if (status != TD_OK) {
        td_topology_destroy(topology);
        return status;
    }
    *out = topology;
    return TD_OK;
}

td_status td_topology_create(const char *machine, td_topology **out) {
    return td_topology_create_limited(machine, NULL, out);
}

td_status td_topology_create_here(td_topology **out) {
    td_topology *topology = NULL;
    TD_TRY(td_topology_create(NULL, &topology));
    if (topology->info.synthetic) {
        td_topology_destroy(topology);
        return td_fail(TD_EUSAGE,
                       "HWLOC_SYNTHETIC or HWLOC_XMLFILE names another machine, on which nothing "
                       "can run here; unset it, or set HWLOC_THISSYSTEM=1 if it is this one");
    }
    *out = topology;
    return TD_OK;
}

void td_topology_destroy(td_topology *topology) {
    if (!topology) {
        return;
    }
    if (topology->tree) {
        hwloc_topology_destroy(topology->tree);
    }
    td_free(topology);
}

const td_topology_info *td_topology_get_info(const td_topology *topology) {
    return &topology->info;
}

struct hwloc_topology *td_topology_tree(const td_topology *topology) {
    return topology->tree;
}

int64_t td_topology_cache_bytes(const td_topology *topology) {
    int64_t bytes = 0;
    for (int i = 0; i < topology->info.n_caches; i++) {
        const td_cache_info *cache = &topology->info.caches[i];
        bytes += cache->instruction ? 0 : cache->bytes * cache->count;
    }
    return bytes;
}

void td_topology_summary(const td_topology *topology, char *text, size_t bytes) {
    const td_topology_info *info = &topology->info;
    hwloc_obj_t package = hwloc_get_obj_by_type(topology->tree, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    int used = snprintf(text, bytes, "%s: ",
                        info->synthetic ? "another machine"
                        : model         ? model
                                        : "this machine");
    struct {
        int count;
        const char *one;
    } parts[] = {{info->packages, "package"},
                 {info->numa_nodes, "NUMA node"},
                 {info->cores, "core"},
                 {info->pus, "PU"}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && used >= 0; i++) {
        if (parts[i].count > 0 && (size_t)used < bytes) {
            used += snprintf(text + used, bytes - (size_t)used, "%d %s%s, ", parts[i].count,
                             parts[i].one, parts[i].count == 1 ? "" : "s");
        }
    }
    if (used >= 0 && (size_t)used < bytes) {
        snprintf(text + used, bytes - (size_t)used, "%.1f GiB",
                 (double)info->memory_bytes / (1 << 30));
    }
}
