/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/layout.h"

#include <hwloc.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const char *const kinds[] = {
    [TD_RANK_THREAD] = "thread", [TD_RANK_PROCESS] = "process", [TD_RANK_MPI] = "mpi"};

static const struct {
    const char *name;
    hwloc_obj_type_t type;
} levels[] = {
    {"machine", HWLOC_OBJ_MACHINE}, {"package", HWLOC_OBJ_PACKAGE}, {"die", HWLOC_OBJ_DIE},
    {"numa", HWLOC_OBJ_NUMANODE},   {"l3", HWLOC_OBJ_L3CACHE},      {"l2", HWLOC_OBJ_L2CACHE},
    {"core", HWLOC_OBJ_CORE},       {"pu", HWLOC_OBJ_PU},
};
enum { N_LEVELS = sizeof(levels) / sizeof(levels[0]), MAX_SMT = 8 };

static const char level_list[] = "machine, package, die, numa, l3, l2, core, pu";

static int level_find(const char *name) {
    for (int i = 0; i < N_LEVELS; i++) {
        if (strcmp(levels[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

/* A word runs to the next separator; returns its length. */
static size_t word_length(const char *at) {
    return strcspn(at, ":@+");
}

/* Digits only: no sign, no space. At most six, which no layout needs and no int overflows. */
static bool take_count(const char **at, int *out) {
    size_t digits = strspn(*at, "0123456789");
    if (digits == 0 || digits > 6) {
        return false;
    }
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        *out = *out * 10 + (*(*at)++ - '0');
    }
    return true;
}

/* p<ranks>xt<workers> */
static td_status parse_counts(const char *text, const char **at, td_layout *layout) {
    *at = text;
    bool good = *(*at)++ == 'p' && take_count(at, &layout->ranks) && strncmp(*at, "xt", 2) == 0;
    *at += good ? 2 : 0;
    if (!good || !take_count(at, &layout->workers)) {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\" does not start with p<ranks>xt<workers>, as in p2xt4", text);
    }
    if (layout->ranks < 1 || layout->ranks > TD_MAX_RANKS) {
        return td_fail(TD_EUSAGE, "layout \"%s\": ranks must be 1 to %d", text, TD_MAX_RANKS);
    }
    if (layout->workers < 1 || layout->workers > TD_MAX_WORKERS / layout->ranks) {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\": workers must be 1 or more, and %d at most over all ranks",
                       text, TD_MAX_WORKERS);
    }
    return TD_OK;
}

static td_status parse_kind(const char *text, const char **at, td_layout *layout) {
    layout->kind = layout->ranks > 1 ? TD_RANK_PROCESS : TD_RANK_THREAD;
    if (**at != ':') {
        return TD_OK;
    }
    const char *word = *at + 1;
    size_t length = word_length(word);
    for (int i = 0; i < 3; i++) {
        if (strlen(kinds[i]) == length && strncmp(kinds[i], word, length) == 0) {
            layout->kind = (td_rank_kind)i;
            *at = word + length;
            return TD_OK;
        }
    }
    return td_fail(TD_EUSAGE, "layout \"%s\": rank kind \"%.*s\"; expected thread, process or mpi",
                   text, (int)length, word);
}

static td_status take_level(const char *text, const char *what, const char *word, char out[12]) {
    size_t length = word_length(word);
    snprintf(out, 12, "%.*s", (int)length, word);
    return length < 12 && level_find(out) >= 0
               ? TD_OK
               : td_fail(TD_EUSAGE, "layout \"%s\": %s \"%.*s\"; expected one of %s", text, what,
                         (int)length, word, level_list);
}

/* [@scope:unit[:order]] */
static td_status parse_place(const char *text, const char **at, td_layout *layout) {
    if (**at != '@') {
        return TD_OK;
    }
    const char *word = *at + 1;
    TD_TRY(take_level(text, "scope", word, layout->scope));
    word += word_length(word);
    if (*word != ':') {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\": a unit must follow the scope, as in @package:core", text);
    }
    word++;
    TD_TRY(take_level(text, "unit", word, layout->unit));
    if (level_find(layout->unit) < level_find(layout->scope)) {
        return td_fail(TD_EUSAGE, "layout \"%s\": unit %s is larger than scope %s", text,
                       layout->unit, layout->scope);
    }
    word += word_length(word);
    if (*word == ':') {
        size_t length = word_length(++word);
        snprintf(layout->order, sizeof(layout->order), "%.*s", (int)length, word);
        if (length >= sizeof(layout->order) ||
            (strcmp(layout->order, "close") != 0 && strcmp(layout->order, "spread") != 0 &&
             strcmp(layout->order, "scatter") != 0)) {
            return td_fail(TD_EUSAGE,
                           "layout \"%s\": order \"%.*s\"; expected close, spread or scatter", text,
                           (int)length, word);
        }
        word += length;
    }
    *at = word;
    return TD_OK;
}

static td_status parse_option(const char *text, const char **at, td_layout *layout) {
    const char *word = *at + 1;
    size_t length = word_length(word);
    char option[24];
    snprintf(option, sizeof(option), "%.*s", (int)length, word);
    *at = word + length;
    if (strcmp(option, "over") == 0) {
        layout->over = true;
    } else if (strcmp(option, "mem=local") == 0) {
        layout->interleave = false;
    } else if (strcmp(option, "mem=interleave") == 0) {
        layout->interleave = true;
    } else if (strncmp(option, "smt=", 4) == 0 && option[4] >= '1' && option[4] <= '0' + MAX_SMT &&
               option[5] == '\0') {
        layout->smt = option[4] - '0';
    } else {
        return td_fail(
            TD_EUSAGE,
            "layout \"%s\": option \"%.*s\"; expected over, smt=1 to smt=%d, mem=local or "
            "mem=interleave",
            text, (int)length, word, MAX_SMT);
    }
    return TD_OK;
}

td_status td_layout_parse(const char *text, td_layout *out) {
    td_layout layout = {.scope = "machine", .unit = "core", .order = "close", .smt = 1};
    const char *at;
    TD_TRY(parse_counts(text, &at, &layout));
    TD_TRY(parse_kind(text, &at, &layout));
    TD_TRY(parse_place(text, &at, &layout));
    while (*at == '+') {
        TD_TRY(parse_option(text, &at, &layout));
    }
    if (*at) {
        return td_fail(TD_EUSAGE,
                       "layout \"%s\": \"%s\" is left over; expected "
                       "p<ranks>xt<workers>[:kind][@scope:unit[:order]][+option]",
                       text, at);
    }
    *out = layout;
    return TD_OK;
}

void td_layout_print(const td_layout *layout, char text[TD_LAYOUT_TEXT]) {
    int used = snprintf(text, TD_LAYOUT_TEXT, "p%dxt%d", layout->ranks, layout->workers);
    char *at = text + used;
    char *end = text + TD_LAYOUT_TEXT;
    if (layout->ranks > 1 || layout->kind != TD_RANK_THREAD) {
        at += snprintf(at, (size_t)(end - at), ":%s", kinds[layout->kind]);
    }
    bool order = strcmp(layout->order, "close") != 0;
    if (order || strcmp(layout->scope, "machine") != 0 || strcmp(layout->unit, "core") != 0) {
        at += snprintf(at, (size_t)(end - at), "@%s:%s", layout->scope, layout->unit);
    }
    if (order) {
        at += snprintf(at, (size_t)(end - at), ":%s", layout->order);
    }
    if (layout->over) {
        at += snprintf(at, (size_t)(end - at), "+over");
    }
    if (layout->smt != 1) {
        at += snprintf(at, (size_t)(end - at), "+smt=%d", layout->smt);
    }
    if (layout->interleave) {
        snprintf(at, (size_t)(end - at), "+mem=interleave");
    }
}

/* Objects of one level that have PUs, in logical order. */
typedef struct object_list {
    hwloc_obj_t *at;
    int count;
} object_list;

static td_status list_objects(hwloc_topology_t tree, const char *level, object_list *out) {
    hwloc_obj_type_t type = levels[level_find(level)].type;
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

static td_status resolve(resolver *r, int *pu) {
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
    return assign_workers(r, pu);
}

td_status td_layout_resolve(const td_layout *layout, const td_topology *topology, int *pu) {
    resolver r = {.layout = layout, .tree = td_topology_tree(topology)};
    td_status status = resolve(&r, pu);
    for (int i = 0; i < layout->ranks; i++) {
        hwloc_bitmap_free(r.set[i]);
    }
    td_free(r.slots);
    td_free(r.units.at);
    td_free(r.scopes.at);
    return status;
}
