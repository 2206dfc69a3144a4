/* SPDX-License-Identifier: Apache-2.0
 * From a layout and a machine to the PU of every worker.
 */
#include <hwloc.h>
#include <limits.h>
#include <string.h>

#include "base/memory.h"
#include "threads/layout.h"

static hwloc_obj_type_t type_of(const char *level) {
    static const struct {
        const char *name;
        hwloc_obj_type_t type;
    } types[] = {
        {"machine", HWLOC_OBJ_MACHINE}, {"package", HWLOC_OBJ_PACKAGE}, {"die", HWLOC_OBJ_DIE},
        {"numa", HWLOC_OBJ_NUMANODE},   {"l3", HWLOC_OBJ_L3CACHE},      {"l2", HWLOC_OBJ_L2CACHE},
        {"core", HWLOC_OBJ_CORE},       {"pu", HWLOC_OBJ_PU},
    };
    size_t at = 0;
    while (strcmp(types[at].name, level) != 0) {
        at++; /* td_layout_parse let no other through */
    }
    return types[at].type;
}

/* A NUMA node is a place of its own only by its CPUs: a second node of the same ones (HBM beside
 * DDR) and one that spans others (memory behind a switch) are none. */
static bool is_place(const hwloc_obj_t *list, int at, int count) {
    for (int i = 0; i < count; i++) {
        bool inside = hwloc_bitmap_isincluded(list[i]->cpuset, list[at]->cpuset);
        bool same = hwloc_bitmap_isequal(list[i]->cpuset, list[at]->cpuset);
        if (inside && (same ? i < at : true)) {
            return false;
        }
    }
    return true;
}

/* Objects of one level that have PUs, in logical order. */
typedef struct object_list {
    hwloc_obj_t *at;
    int count;
} object_list;

static td_status list_objects(hwloc_topology_t tree, const char *level, object_list *out) {
    hwloc_obj_type_t type = type_of(level);
    int n = hwloc_get_nbobjs_by_type(tree, type);
    *out = (object_list){0};
    if (n <= 0) {
        return td_fail(TD_EUSAGE, "this topology has no %s level", level);
    }
    out->at = td_alloc((size_t)n * sizeof(*out->at));
    if (!out->at) {
        return td_fail(TD_ENOMEM, "a list of %d objects", n);
    }
    for (int i = 0; i < n; i++) {
        hwloc_obj_t object = hwloc_get_obj_by_type(tree, type, (unsigned)i);
        if (!hwloc_bitmap_iszero(object->cpuset)) {
            out->at[out->count++] = object;
        }
    }
    if (type == HWLOC_OBJ_NUMANODE) {
        int kept = 0;
        for (int i = 0; i < out->count; i++) {
            if (is_place(out->at, i, out->count)) {
                out->at[kept++] = out->at[i];
            }
        }
        out->count = kept;
    }
    return TD_OK;
}

/* What the resolver works with; set[r] is the PUs of rank r. */
typedef struct resolver {
    const td_layout *layout;
    hwloc_topology_t tree;
    object_list scopes, units;
    hwloc_bitmap_t set[TD_MAX_RANKS];
    int *slots;
} resolver;

/* Ranks that share a scope take equal consecutive parts of its units. With fewer units than ranks a
 * part would be empty, and the rank takes the unit its part would start at. */
static void share_scope(resolver *r, hwloc_obj_t scope, int rank, int part, int parts) {
    int total = 0;
    for (int i = 0; i < r->units.count; i++) {
        total += hwloc_bitmap_intersects(r->units.at[i]->cpuset, scope->cpuset);
    }
    int first = total * part / parts, last = total * (part + 1) / parts;
    if (last == first) {
        last = first + 1;
    }
    for (int i = 0, seen = 0; i < r->units.count; i++) {
        if (hwloc_bitmap_intersects(r->units.at[i]->cpuset, scope->cpuset)) {
            if (seen >= first && seen < last) {
                hwloc_bitmap_or(r->set[rank], r->set[rank], r->units.at[i]->cpuset);
            }
            seen++;
        }
    }
}

/* close: consecutive scopes for consecutive ranks; scatter: one scope after the other in turn. With
 * fewer ranks than scopes a rank takes several of them, whole. */
static void share_scopes(resolver *r, bool scatter) {
    int ranks = r->layout->ranks, scopes = r->scopes.count;
    for (int rank = 0; rank < ranks; rank++) {
        if (ranks <= scopes) {
            for (int s = 0; s < scopes; s++) {
                bool mine = scatter ? s % ranks == rank
                                    : s >= scopes * rank / ranks && s < scopes * (rank + 1) / ranks;
                if (mine) {
                    share_scope(r, r->scopes.at[s], rank, 0, 1);
                }
            }
            continue;
        }
        int scope = scatter ? rank % scopes : rank * scopes / ranks;
        int part = 0, parts = 0;
        for (int other = 0; other < ranks; other++) {
            if ((scatter ? other % scopes : other * scopes / ranks) == scope) {
                part += other < rank;
                parts++;
            }
        }
        share_scope(r, r->scopes.at[scope], rank, part, parts);
    }
}

/* The PUs a rank's workers may take, in order: smt PUs of each unit. */
static int list_slots(const resolver *r, int rank) {
    int n = 0;
    hwloc_bitmap_t inside = hwloc_bitmap_alloc();
    if (!inside) {
        return -1;
    }
    for (int i = 0; i < r->units.count; i++) {
        hwloc_bitmap_and(inside, r->units.at[i]->cpuset, r->set[rank]);
        int pu = hwloc_bitmap_first(inside);
        for (int k = 0; k < r->layout->smt && pu >= 0; k++) {
            r->slots[n++] = pu;
            pu = hwloc_bitmap_next(inside, pu);
        }
    }
    hwloc_bitmap_free(inside);
    return n;
}

static td_status assign_workers(const resolver *r, int *pu) {
    const td_layout *layout = r->layout;
    int workers = layout->workers;
    bool spread = strcmp(layout->order, "spread") == 0;
    int total = 0;
    for (int i = 0; i < r->units.count; i++) {
        int weight = hwloc_bitmap_weight(r->units.at[i]->cpuset);
        total += weight < layout->smt ? weight : layout->smt;
    }
    if (!layout->over && layout->ranks * workers > total) {
        return td_fail(
            TD_EUSAGE,
            "layout p%dxt%d needs %d workers, this machine has %d %ss%s; add +over to let workers "
            "share them%s",
            layout->ranks, workers, layout->ranks * workers, total, layout->unit,
            layout->smt > 1 ? " (times smt)" : "",
            hwloc_get_nbobjs_by_type(r->tree, HWLOC_OBJ_PU) > total
                ? ", or use the unit pu (@machine:pu)"
                : "");
    }
    for (int rank = 0; rank < layout->ranks; rank++) {
        int n = list_slots(r, rank);
        if (n <= 0) {
            return td_fail(TD_ENOMEM, "a CPU set");
        }
        if (!layout->over && workers > n) {
            return td_fail(TD_EUSAGE,
                           "layout p%dxt%d: rank %d needs %d workers, its share of the %s scope "
                           "has %d %ss; use "
                           "another scope, or add +over",
                           layout->ranks, workers, rank, workers, layout->scope, n, layout->unit);
        }
        for (int w = 0; w < workers; w++) {
            pu[rank * workers + w] = r->slots[spread && workers <= n ? w * n / workers : w % n];
        }
    }
    return TD_OK;
}

static td_status share_out(resolver *r) {
    const td_layout *layout = r->layout;
    TD_TRY(list_objects(r->tree, layout->scope, &r->scopes));
    TD_TRY(list_objects(r->tree, layout->unit, &r->units));
    r->slots = td_alloc(TD_MAX_PUS * sizeof(int));
    bool failed = !r->slots;
    if (strcmp(layout->order, "spread") == 0) {
        /* hwloc_distrib allocates the sets itself. */
        failed = failed || hwloc_distrib(r->tree, r->scopes.at, (unsigned)r->scopes.count, r->set,
                                         (unsigned)layout->ranks, INT_MAX, 0) != 0;
    } else {
        for (int i = 0; i < layout->ranks; i++) {
            r->set[i] = hwloc_bitmap_alloc();
            failed = failed || !r->set[i];
        }
    }
    if (failed) {
        return td_fail(TD_ENOMEM, "the CPU sets of %d ranks", layout->ranks);
    }
    if (strcmp(layout->order, "spread") != 0) {
        share_scopes(r, strcmp(layout->order, "scatter") == 0);
    }
    return TD_OK;
}

static void destroy_resolver(resolver *r) {
    for (int i = 0; i < r->layout->ranks; i++) {
        hwloc_bitmap_free(r->set[i]);
    }
    td_free(r->slots);
    td_free(r->units.at);
    td_free(r->scopes.at);
}

/* The list of the layout, dealt in order: all of it, or in turn with `over`. */
static td_status resolve_list(const td_layout *layout, hwloc_topology_t tree, int *pu) {
    int cpu[TD_MAX_WORKERS], count, total = layout->ranks * layout->workers;
    TD_TRY(td_cpu_list_parse(layout->cpus, strlen(layout->cpus), TD_MAX_WORKERS, cpu, &count));
    if (count != total && !(layout->over && count < total)) {
        return td_fail(TD_EUSAGE, "layout p%dxt%d has %d workers and a list of %d CPUs%s",
                       layout->ranks, layout->workers, total, count,
                       count < total ? "; add +over to let workers share them" : "");
    }
    for (int i = 0; i < count; i++) {
        if (!hwloc_get_pu_obj_by_os_index(tree, (unsigned)cpu[i])) {
            return td_fail(TD_EUSAGE, "layout p%dxt%d@cpus{%s}: no PU %d is usable here",
                           layout->ranks, layout->workers, layout->cpus, cpu[i]);
        }
    }
    td_cpu_mask taken = {0};
    for (int i = 0; i < count; i++) {
        if (!layout->over && td_cpu_mask_has(&taken, cpu[i])) {
            return td_fail(TD_EUSAGE,
                           "layout p%dxt%d@cpus{%s} lists PU %d twice; add +over to let "
                           "workers share it",
                           layout->ranks, layout->workers, layout->cpus, cpu[i]);
        }
        td_cpu_mask_add(&taken, cpu[i]);
    }
    for (int i = 0; i < total; i++) {
        pu[i] = cpu[i % count];
    }
    return TD_OK;
}

td_status td_layout_resolve(const td_layout *layout, const td_topology *topology, int *pu) {
    resolver r = {.layout = layout, .tree = td_topology_tree(topology)};
    if (layout->unbound) {
        for (int i = 0; i < layout->ranks * layout->workers; i++) {
            pu[i] = -1;
        }
        return TD_OK;
    }
    if (layout->cpus[0]) {
        return resolve_list(layout, r.tree, pu);
    }
    td_status status = share_out(&r);
    if (status == TD_OK) {
        status = assign_workers(&r, pu);
    }
    destroy_resolver(&r);
    return status;
}

static void add_bits(hwloc_const_bitmap_t set, td_cpu_mask *mask) {
    for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu)) {
        td_cpu_mask_add(mask, cpu);
    }
}

td_status td_layout_share(const td_layout *layout, const td_topology *topology, int rank,
                          td_cpu_mask *out) {
    resolver r = {.layout = layout, .tree = td_topology_tree(topology)};
    td_cpu_mask mask = {0};
    td_status status = TD_OK;
    if (layout->unbound) {
        add_bits(hwloc_topology_get_topology_cpuset(r.tree), &mask);
    } else if (layout->cpus[0]) {
        int pu[TD_MAX_WORKERS];
        status = resolve_list(layout, r.tree, pu);
        for (int i = 0; status == TD_OK && i < layout->workers; i++) {
            td_cpu_mask_add(&mask, pu[rank * layout->workers + i]);
        }
    } else {
        status = share_out(&r);
        if (status == TD_OK) {
            add_bits(r.set[rank], &mask);
        }
        destroy_resolver(&r);
    }
    if (status == TD_OK) {
        *out = mask;
    }
    return status;
}
