/* SPDX-License-Identifier: Apache-2.0
 * A launcher's variables say how many ranks there are and where; OpenMP's how many workers, and of
 * a single rank where. What they leave open is as in any layout.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "threads/layout_foreign.h"

typedef struct importer {
    const td_topology *topology;
    td_layout layout;
    int workers;                 /* 0: not said */
    int cpu[TD_MAX_PUS], n_cpus; /* of the workers, in order */
    bool by_rank;                /* cpu was given by the launcher for all ranks */
    td_text *used;
} importer;

/* A variable that is set and not empty, noted as used. */
static const char *take(importer *m, const char *name) {
    const char *value = getenv(name);
    if (!value || !value[0]) {
        return NULL;
    }
    if (m->used) {
        td_text_printf(m->used, "%s%s", m->used->size ? "," : "", name);
    }
    return value;
}

/* The number a value begins with; 0 when there is none. */
static int leading(const char *value) {
    char *end;
    long number = value ? strtol(value, &end, 10) : 0;
    return number < 0 || number > TD_MAX_PUS ? 0 : (int)number;
}

static td_status not_sayable(const char *name, const char *value, const char *why) {
    return td_fail(TD_EUSAGE, "%s=%s: %s", name, value, why);
}

static void set_place(importer *m, const char *scope, const char *unit, const char *order) {
    snprintf(m->layout.scope, sizeof m->layout.scope, "%s", scope);
    snprintf(m->layout.unit, sizeof m->layout.unit, "%s", unit);
    snprintf(m->layout.order, sizeof m->layout.order, "%s", order);
}

/* Adds the PUs of one hexadecimal mask. */
static bool add_mask(importer *m, const char *word) {
    const char *digits = strncmp(word, "0x", 2) == 0 ? word + 2 : word;
    size_t length = strlen(digits);
    if (length == 0 || strspn(digits, "0123456789abcdefABCDEF") != length) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        char digit[2] = {digits[length - 1 - i], '\0'};
        unsigned long bits = strtoul(digit, NULL, 16);
        for (int bit = 0; bit < 4; bit++) {
            if (bits >> bit & 1 && m->n_cpus < TD_MAX_PUS) {
                m->cpu[m->n_cpus++] = (int)(4 * i) + bit;
            }
        }
    }
    return true;
}

/* Slurm's mask_cpu: a mask a rank, in turn. A rank with fewer workers than PUs takes them evenly:
 * with two PUs a core, one of each. */
static td_status take_masks(importer *m, const char *name, char *list) {
    char *mask[TD_MAX_RANKS];
    int masks = 0, n = 0;
    static int chosen[TD_MAX_WORKERS];
    for (char *rest = list, *word; masks < TD_MAX_RANKS && (word = strsep(&rest, ","));) {
        mask[masks++] = word;
    }
    for (int rank = 0; rank < m->layout.ranks; rank++) {
        m->n_cpus = 0;
        if (!add_mask(m, mask[rank % masks]) || m->n_cpus == 0) {
            return not_sayable(name, mask[rank % masks], "expected a mask, as in 0xff");
        }
        m->workers = m->workers > 0 ? m->workers : m->n_cpus;
        if (m->workers > m->n_cpus) {
            return td_fail(TD_EUSAGE, "%s gives rank %d %d CPUs for %d workers", name, rank,
                           m->n_cpus, m->workers);
        }
        for (int w = 0; w < m->workers && n < TD_MAX_WORKERS; w++) {
            chosen[n++] = m->cpu[w * m->n_cpus / m->workers];
        }
    }
    memcpy(m->cpu, chosen, (size_t)n * sizeof chosen[0]);
    m->n_cpus = n;
    m->by_rank = true;
    return TD_OK;
}

static td_status take_map(importer *m, const char *name, const char *list) {
    int cpu[TD_MAX_WORKERS], count;
    TD_TRY(td_cpu_list_parse(list, strlen(list), TD_MAX_WORKERS, cpu, &count));
    if (count == 0 || m->workers > 1) {
        return not_sayable(name, list, "one CPU a rank; expected a list, and one worker a rank");
    }
    for (int rank = 0; rank < m->layout.ranks; rank++) {
        m->cpu[rank] = cpu[rank % count];
    }
    m->n_cpus = m->layout.ranks;
    m->workers = 1;
    m->by_rank = true;
    return TD_OK;
}

/* "quiet,mask_cpu:0x3,0xc", "cores", ... */
static td_status take_slurm_binding(importer *m) {
    static const char name[] = "SLURM_CPU_BIND";
    const char *given = take(m, name);
    if (!given) {
        return TD_OK;
    }
    char value[4096], *at;
    if (snprintf(value, sizeof value, "%s", given) >= (int)sizeof value) {
        return not_sayable(name, "...", "longer than 4095 characters");
    }
    if ((at = strstr(value, "mask_cpu:"))) {
        return take_masks(m, name, at + 9);
    }
    if ((at = strstr(value, "map_cpu:"))) {
        return take_map(m, name, at + 8);
    }
    if (strstr(value, "none")) {
        m->layout.unbound = true;
    } else if (strstr(value, "threads")) {
        set_place(m, "machine", "pu", "close");
    } else if (strstr(value, "sockets")) {
        set_place(m, "package", "core", "scatter");
    } else if (strstr(value, "ldoms")) {
        set_place(m, "numa", "core", "scatter");
    }
    return TD_OK;
}

static td_status from_slurm(importer *m) {
    static const char *const counts[] = {"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE",
                                         "SLURM_NTASKS_PER_NODE", "SLURM_NTASKS"};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0] && m->layout.ranks == 0; i++) {
        m->layout.ranks = leading(take(m, counts[i]));
    }
    if (m->layout.ranks > 0) {
        m->workers = leading(take(m, "SLURM_CPUS_PER_TASK"));
        return take_slurm_binding(m);
    }
    return TD_OK;
}

/* "ppr:2:socket:pe=4", "socket:PE=2", "core": ranks fill objects with ppr, else take them in turn;
 * by core or slot they follow each other. */
static void take_mapping(importer *m, const char *mapping) {
    static const struct {
        const char *word, *scope;
    } words[] = {{"socket", "package"},
                 {"package", "package"},
                 {"numa", "numa"},
                 {"l3cache", "l3"},
                 {"l2cache", "l2"}};
    bool by_pu = strcmp(m->layout.unit, "pu") == 0;
    bool fill = strncasecmp(mapping, "ppr:", 4) == 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasestr(mapping, words[i].word)) {
            set_place(m, words[i].scope, by_pu ? "pu" : "core", fill ? "close" : "scatter");
        }
    }
    const char *pe = strcasestr(mapping, "pe=");
    m->workers = pe ? leading(pe + 3) : m->workers;
}

static void from_mpi(importer *m) {
    m->layout.ranks = leading(take(m, "OMPI_COMM_WORLD_LOCAL_SIZE"));
    if (m->layout.ranks == 0) {
        m->layout.ranks = leading(take(m, "MPI_LOCALNRANKS"));
        return;
    }
    /* Version 5 hands policies on under PRRTE's prefix. */
    const char *bind = take(m, "OMPI_MCA_hwloc_base_binding_policy");
    bind = bind ? bind : take(m, "PRTE_MCA_hwloc_default_binding_policy");
    if (bind && strncmp(bind, "none", 4) == 0) {
        m->layout.unbound = true;
    } else if (bind && strncmp(bind, "hwthread", 8) == 0) {
        set_place(m, "machine", "pu", "close");
    }
    const char *map = take(m, "OMPI_MCA_rmaps_base_mapping_policy");
    map = map ? map : take(m, "PRTE_MCA_rmaps_default_mapping_policy");
    if (map) {
        take_mapping(m, map);
    }
}

/* A number within OpenMP's text; -1 when there is none. */
static int number_at(const char **at) {
    *at += strspn(*at, " ");
    if (**at < '0' || **at > '9') {
        return -1;
    }
    char *end;
    long value = strtol(*at, &end, 10);
    *at = end + strspn(end, " ");
    return value >= TD_MAX_PUS ? -1 : (int)value;
}

/* After a number or place: [:count[:stride]]. */
static bool interval_at(const char **at, int *count, int *stride) {
    *count = *stride = 1;
    if (**at != ':') {
        return true;
    }
    ++*at;
    *count = number_at(at);
    if (**at == ':') {
        ++*at;
        bool down = **at == '-';
        *at += down;
        *stride = number_at(at);
        *stride = down && *stride > 0 ? -*stride : *stride;
        return *count > 0 && *stride != -1;
    }
    return *count > 0;
}

/* "{0:4},{4:4}", "{0}:8:2": the first PU of every place. */
static bool take_places(importer *m, const char *at) {
    for (;;) {
        at += strspn(at, " ");
        if (*at != '{') {
            return false;
        }
        at++;
        int first = number_at(&at), count, stride, rest, step;
        if (first < 0 || !interval_at(&at, &rest, &step)) {
            return false;
        }
        while (*at == ',') {
            at++;
            if (number_at(&at) < 0 || !interval_at(&at, &rest, &step)) {
                return false;
            }
        }
        if (*at++ != '}' || !interval_at(&at, &count, &stride)) {
            return false;
        }
        for (int i = 0; i < count; i++) {
            int cpu = first + i * stride;
            if (cpu < 0 || cpu >= TD_MAX_PUS || m->n_cpus == TD_MAX_PUS) {
                return false;
            }
            m->cpu[m->n_cpus++] = cpu;
        }
        at += strspn(at, " ");
        if (*at != ',') {
            return *at == '\0';
        }
        at++;
    }
}

/* "cores", "threads(4)", ...; false when the word is none of them. */
static bool take_abstract(importer *m, const char *places) {
    static const struct {
        const char *word, *unit;
    } words[] = {{"threads", "pu"},
                 {"cores", "core"},
                 {"ll_caches", "l3"},
                 {"numa_domains", "numa"},
                 {"sockets", "package"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t length = strlen(words[i].word);
        if (strncasecmp(places, words[i].word, length) == 0 &&
            (places[length] == '\0' || places[length] == '(')) {
            snprintf(m->layout.unit, sizeof m->layout.unit, "%s", words[i].unit);
            int places_wanted = places[length] == '(' ? leading(places + length + 1) : 0;
            m->workers = m->workers > 0 ? m->workers : places_wanted;
            return true;
        }
    }
    return false;
}

static td_status take_list(importer *m, const char *name, const char *list, size_t length) {
    td_status status = td_cpu_list_parse(list, length, TD_MAX_PUS, m->cpu, &m->n_cpus);
    return status == TD_OK && m->n_cpus > 0
               ? TD_OK
               : not_sayable(name, list, "expected CPUs, as in 0-3,8-11:2");
}

/* The explicit lists, the most specific first. */
static td_status take_omp_places(importer *m) {
    const char *value;
    if ((value = take(m, "OMP_PLACES"))) {
        return take_abstract(m, value) || take_places(m, value)
                   ? TD_OK
                   : not_sayable("OMP_PLACES", value,
                                 "expected places as in {0},{2} or {0:4}:2:4, or threads, cores, "
                                 "ll_caches, numa_domains, sockets");
    }
    if ((value = take(m, "GOMP_CPU_AFFINITY"))) {
        return take_list(m, "GOMP_CPU_AFFINITY", value, strlen(value));
    }
    const char *kmp = getenv("KMP_AFFINITY");
    if (kmp && strstr(kmp, "explicit") && (value = strstr(kmp, "proclist=["))) {
        take(m, "KMP_AFFINITY");
        value += strlen("proclist=[");
        return take_list(m, "KMP_AFFINITY", value, strcspn(value, "]"));
    }
    return TD_OK;
}

/* close: places in order; spread: as far apart as they allow. */
static td_status deal_places(importer *m, bool spread) {
    m->workers = m->workers > 0 ? m->workers : m->n_cpus;
    if (m->workers > TD_MAX_WORKERS) {
        return td_fail(TD_EUSAGE, "%d places; expected %d at most", m->workers, TD_MAX_WORKERS);
    }
    static int dealt[TD_MAX_WORKERS];
    m->layout.over = m->workers > m->n_cpus;
    for (int w = 0; w < m->workers; w++) {
        dealt[w] = m->cpu[spread || m->layout.over ? w * m->n_cpus / m->workers : w];
    }
    memcpy(m->cpu, dealt, (size_t)m->workers * sizeof dealt[0]);
    m->n_cpus = m->workers;
    return TD_OK;
}

static td_status from_openmp(importer *m) {
    const char *threads = take(m, "OMP_NUM_THREADS");
    m->workers = m->workers > 0 ? m->workers : leading(threads);
    bool one = m->layout.ranks <= 1 && !m->by_rank;
    if (!one) {
        return TD_OK; /* places would be those of the rank that happens to ask */
    }
    TD_TRY(take_omp_places(m));
    const char *bind = take(m, "OMP_PROC_BIND");
    bool spread = bind && strncasecmp(bind, "spread", 6) == 0;
    if (bind && strncasecmp(bind, "false", 5) == 0) {
        m->layout.unbound = true;
        m->n_cpus = 0;
    } else if (bind &&
               (strncasecmp(bind, "master", 6) == 0 || strncasecmp(bind, "primary", 7) == 0)) {
        return not_sayable("OMP_PROC_BIND", bind, "a layout gives every worker a PU of its own");
    }
    if (m->n_cpus > 0) {
        return deal_places(m, spread);
    }
    snprintf(m->layout.order, sizeof m->layout.order, "%s", spread ? "spread" : "close");
    return TD_OK;
}

static td_status finish(importer *m) {
    td_layout *layout = &m->layout;
    layout->ranks = layout->ranks > 0 ? layout->ranks : 1;
    if (layout->ranks > TD_MAX_RANKS) {
        return td_fail(TD_EUSAGE, "%d ranks; expected %d at most", layout->ranks, TD_MAX_RANKS);
    }
    if (m->workers == 0) {
        int cores = td_topology_get_info(m->topology)->cores / layout->ranks;
        m->workers = cores > 0 ? cores : 1;
    }
    layout->workers = m->workers;
    layout->kind = layout->ranks > 1 ? TD_RANK_PROCESS : TD_RANK_THREAD;
    if (m->n_cpus > 0 &&
        td_cpu_list_print(m->cpu, m->n_cpus, layout->cpus, sizeof layout->cpus) >= TD_LAYOUT_CPUS) {
        return td_fail(TD_EUSAGE, "a list of %d CPUs; expected %d characters with ranges at most",
                       m->n_cpus, TD_LAYOUT_CPUS - 1);
    }
    return TD_OK;
}

td_status td_layout_import(const td_topology *topology, td_layout *out, td_text *used) {
    td_text own = {0};
    importer m = {
        .topology = topology,
        .layout = {.scope = "machine", .unit = "core", .order = "close", .smt = 1},
        .used = used ? used : &own,
    };
    size_t before = m.used->size;
    td_status status = from_slurm(&m);
    if (status == TD_OK && m.layout.ranks == 0) {
        from_mpi(&m);
    }
    status = status == TD_OK ? from_openmp(&m) : status;
    if (status == TD_OK && m.used->size == before) {
        status = td_fail(TD_EUSAGE, "the environment names no layout: no variable of Slurm, Open "
                                    "MPI, MPICH or OpenMP is set");
    }
    status = status == TD_OK ? finish(&m) : status;
    td_text_destroy(&own);
    if (status == TD_OK) {
        *out = m.layout;
    }
    return status;
}

td_status td_layout_read(const char *text, const td_topology *topology, td_layout *out) {
    return strcmp(text, "env") == 0 ? td_layout_import(topology, out, NULL)
                                    : td_layout_parse(text, out);
}
