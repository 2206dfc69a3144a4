/* SPDX-License-Identifier: Apache-2.0 */
#include "reports/coll_tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "reports/table.h"

/* One record, taken apart. */
typedef struct entry {
    const td_fact *fact;
    const char *operation, *algorithm;
    char dtype[8], how[48]; /* how: what follows the size in the id, without -apart */
    bool apart;
    double bytes, count, min_ns, p50_ns, p95_ns, p99_ns, max_ns, algbw, busbw;
} entry;

typedef struct entries {
    entry *at;
    int n;
} entries;

/* Names of an operation in the benchmarks; NULL: they do not have it, and ours is used. */
typedef struct naming {
    const char *ours, *nccl, *osu, *imb;
    bool sums, rooted;
} naming;

static const naming names[] = {
    {"allreduce", "all_reduce", "Allreduce", "Allreduce", true, false},
    {"reduce", "reduce", "Reduce", "Reduce", true, true},
    {"reduce_scatter", "reduce_scatter", "Reduce_scatter", "Reduce_scatter", true, false},
    {"allgather", "all_gather", "Allgather", "Allgather", false, false},
    {"broadcast", "broadcast", "Broadcast", "Bcast", false, true},
    {"gather", "gather", "Gather", "Gather", false, true},
    {"scatter", "scatter", "Scatter", "Scatter", false, true},
    {"alltoall", "alltoall", "All-to-All", "Alltoall", false, false},
    {"shift", "sendrecv", "Sendrecv", "Sendrecv", false, false},
    {"scan", "scan", "Scan", "Scan", true, false},
    {"exscan", "exscan", "Exscan", "Exscan", true, false},
    {"exchange", "exchange", "Exchange", "Exchange", false, false},
    {"barrier", "barrier", "Barrier", "Barrier", false, false},
};

static const naming *naming_of(const char *operation) {
    static naming own;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].ours, operation) == 0) {
            return &names[i];
        }
    }
    own = (naming){operation, operation, operation, operation, false, false};
    return &own;
}

/* "f32-4KiB-written-isolated-apart" */
static void take_shape(const char *shape, entry *e) {
    const char *size = strchr(shape, '-');
    snprintf(e->dtype, sizeof e->dtype, "%.*s", size ? (int)(size - shape) : 7, shape);
    const char *how = size ? strchr(size + 1, '-') : NULL;
    snprintf(e->how, sizeof e->how, "%s", how ? how + 1 : "");
    char *apart = strstr(e->how, "apart");
    e->apart = apart != NULL;
    if (apart != NULL) {
        *(apart > e->how ? apart - 1 : apart) = '\0';
    }
    for (char *c = e->how; *c != '\0'; c++) {
        *c = *c == '-' ? ' ' : *c;
    }
}

static double time_of(const td_fact *fact, const char *name) {
    return td_json_number(json_object_get(fact->json, "time_ns"), name);
}

static entry entry_of(const td_fact *fact) {
    entry e = {.fact = fact,
               .operation = fact->part[1],
               .algorithm = fact->part[2],
               .bytes = fact->n_parts > 3 ? td_fact_message_bytes(fact) : 0,
               .min_ns = time_of(fact, "min"),
               .p50_ns = time_of(fact, "p50"),
               .p95_ns = time_of(fact, "p95"),
               .p99_ns = time_of(fact, "p99"),
               .max_ns = time_of(fact, "max"),
               .busbw = td_fact_number(fact, "busbw")};
    take_shape(fact->n_parts > 3 ? fact->part[3] : "", &e);
    e.count = e.bytes / (strcmp(e.dtype, "bf16") == 0 ? 2 : 4);
    e.algbw = e.bytes / e.p50_ns;
    e.busbw = isnan(e.busbw) ? 0 : e.busbw;
    return e;
}

static int compare_tables(const entry *a, const entry *b) {
    const char *const ours[] = {a->operation, a->algorithm,    a->dtype,
                                a->how,       a->fact->layout, a->fact->provider};
    const char *const theirs[] = {b->operation, b->algorithm,    b->dtype,
                                  b->how,       b->fact->layout, b->fact->provider};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        int order = strcmp(ours[i], theirs[i]);
        if (order != 0) {
            return order;
        }
    }
    return 0;
}

static int compare_entries(const void *left, const void *right) {
    const entry *a = left, *b = right;
    int order = compare_tables(a, b);
    if (order == 0 && a->bytes != b->bytes) {
        order = a->bytes < b->bytes ? -1 : 1;
    }
    return order != 0 ? order : b->apart - a->apart;
}

static td_status collect(const td_facts *facts, entries *out) {
    *out = (entries){td_alloc((size_t)(facts->n_rows + 1) * sizeof(entry)), 0};
    if (out->at == NULL) {
        return td_fail(TD_ENOMEM, "a table of collectives");
    }
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (td_fact_is(fact, "coll") && fact->ok && fact->n_parts >= 3) {
            out->at[out->n++] = entry_of(fact);
        }
    }
    if (out->n == 0) {
        td_free(out->at);
        return td_fail(TD_EUSAGE, "no collective was measured");
    }
    qsort(out->at, (size_t)out->n, sizeof(entry), compare_entries);
    return TD_OK;
}

/* What the benchmarks' own headers have no place for. */
static void put_title(td_text *out, const entry *e) {
    td_text_printf(out, "# %s/%s, %s, %s%s%s, medians over calls at their slowest rank\n",
                   e->operation, e->algorithm, e->fact->layout, e->fact->provider,
                   e->how[0] ? ", " : "", e->how);
}

/* ---- nccl-tests ---- */

static const char *nccl_type(const entry *e) {
    return strcmp(e->dtype, "bf16") == 0 ? "bfloat16" : "float";
}

static void put_half(td_text *out, const entry *e) {
    if (e == NULL) {
        td_text_printf(out, "  %7s  %6s  %6s  %5s", "N/A", "N/A", "N/A", "N/A");
        return;
    }
    td_text_printf(out, "  %7.2f  %6.2f  %6.2f  %5d", e->p50_ns * 1e-3, e->algbw, e->busbw, 0);
}

static void put_nccl(td_text *out, const entry *first, int n) {
    const naming *name = naming_of(first->operation);
    double sum = 0;
    td_text_printf(out, "# %s_perf\n", name->nccl);
    put_title(out, first);
    td_text_printf(out, "#\n# %58s %34s\n", "out-of-place", "in-place");
    td_text_puts(out, "#       size         count      type   redop    root"
                      "     time   algbw   busbw #wrong     time   algbw   busbw #wrong\n"
                      "#        (B)    (elements)                         "
                      "     (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)\n");
    for (int i = 0; i < n; i++) {
        const entry *here = &first[i], *apart = here->apart ? here : NULL;
        const entry *in_place = here->apart ? NULL : here;
        sum += here->busbw;
        if (apart && i + 1 < n && first[i + 1].bytes == here->bytes && !first[i + 1].apart) {
            in_place = &first[++i];
            sum += in_place->busbw;
        }
        td_text_printf(out, "%12.0f  %12.0f  %8s  %6s  %6d", here->bytes, here->count,
                       nccl_type(here), name->sums ? "sum" : "none", name->rooted ? 0 : -1);
        put_half(out, apart);
        put_half(out, in_place);
        td_text_puts(out, "\n");
    }
    td_text_printf(out, "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : %g\n#\n\n",
                   sum / n);
}

/* ---- OSU and IMB ---- */

static void put_osu(td_text *out, const entry *first, int n) {
    td_text_printf(out, "\n# OSU MPI %s Latency Test v7.0\n", naming_of(first->operation)->osu);
    put_title(out, first);
    td_text_puts(out, "# Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)"
                      "  Iterations\n");
    for (int i = 0; i < n; i++) {
        const entry *e = &first[i];
        td_text_printf(out, "%-10.0f %17.2f %17.2f %17.2f %11.0f\n", e->bytes, e->p50_ns * 1e-3,
                       e->min_ns * 1e-3, e->max_ns * 1e-3, e->fact->samples);
    }
}

static void put_imb(td_text *out, const entry *first, int n) {
    const char *line = "#----------------------------------------------------------------";
    td_text_printf(out, "\n%s\n# Benchmarking %s \n# #processes = %d \n%s\n", line,
                   naming_of(first->operation)->imb, first->fact->ranks, line);
    put_title(out, first);
    td_text_puts(out, "       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]\n");
    for (int i = 0; i < n; i++) {
        const entry *e = &first[i];
        td_text_printf(out, "%13.0f %12.0f %12.2f %12.2f %12.2f\n", e->bytes, e->fact->samples,
                       e->min_ns * 1e-3, e->max_ns * 1e-3, e->p50_ns * 1e-3);
    }
}

/* In place and apart are runs of their own in these formats. */
static int take_place(const entry *first, int n, bool apart, entry *to) {
    int taken = 0;
    for (int i = 0; i < n; i++) {
        if (first[i].apart == apart) {
            to[taken++] = first[i];
        }
    }
    return taken;
}

/* ---- every column ---- */

static void put_csv(td_text *out, const entry *first, int n) {
    for (int i = 0; i < n; i++) {
        const entry *e = &first[i];
        const char *const words[] = {e->operation,
                                     e->algorithm,
                                     e->fact->provider,
                                     e->fact->layout,
                                     e->dtype,
                                     e->how,
                                     e->apart ? "out-of-place" : "in-place"};
        for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
            td_csv_field(out, words[w]);
            td_text_puts(out, ",");
        }
        td_text_printf(out, "%.0f,%.0f,%.0f,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g\n", e->bytes,
                       e->count, e->fact->samples, e->min_ns * 1e-3, e->p50_ns * 1e-3,
                       e->p95_ns * 1e-3, e->p99_ns * 1e-3, e->max_ns * 1e-3, e->algbw, e->busbw);
    }
}

static td_status put_json(td_text *out, const entries *all) {
    json_t *list = json_array();
    for (int i = 0; i < all->n; i++) {
        const entry *e = &all->at[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, "
                      "s:f, s:f}",
                      "operation", e->operation, "algorithm", e->algorithm, "provider",
                      e->fact->provider, "layout", e->fact->layout, "type", e->dtype, "how", e->how,
                      "in_place", !e->apart, "bytes", (json_int_t)e->bytes, "count",
                      (json_int_t)e->count, "samples", (json_int_t)e->fact->samples, "min_us",
                      e->min_ns * 1e-3, "p50_us", e->p50_ns * 1e-3, "p95_us", e->p95_ns * 1e-3,
                      "p99_us", e->p99_ns * 1e-3, "max_us", e->max_ns * 1e-3, "algbw_gbps",
                      e->algbw, "busbw_gbps", e->busbw));
    }
    char *text = json_dumps(list, JSON_INDENT(1));
    json_decref(list);
    if (text == NULL) {
        return td_fail(TD_ENOMEM, "a table of collectives as JSON");
    }
    td_text_puts(out, text);
    td_text_puts(out, "\n");
    free(text);
    return TD_OK;
}

static void put_runs(td_text *out, const entry *first, int n, entry *room,
                     void (*put)(td_text *out, const entry *first, int n)) {
    for (int apart = 0; apart < 2; apart++) {
        int taken = take_place(first, n, apart != 0, room);
        if (taken > 0) {
            put(out, room, taken);
        }
    }
}

static td_status put_tables(const entries *all, const char *format, td_text *out) {
    entry *room = td_alloc((size_t)all->n * sizeof *room);
    if (room == NULL) {
        return td_fail(TD_ENOMEM, "a table of collectives");
    }
    if (strcmp(format, "csv") == 0) {
        td_text_puts(out, "operation,algorithm,provider,layout,type,how,place,bytes,count,samples,"
                          "min_us,p50_us,p95_us,p99_us,max_us,algbw_gbps,busbw_gbps\n");
    }
    for (int i = 0, n; i < all->n; i += n) {
        const entry *first = &all->at[i];
        for (n = 1; i + n < all->n && compare_tables(first, first + n) == 0; n++) {
        }
        if (strcmp(format, "nccl") == 0) {
            put_nccl(out, first, n);
        } else if (strcmp(format, "csv") == 0) {
            put_csv(out, first, n);
        } else {
            put_runs(out, first, n, room, strcmp(format, "osu") == 0 ? put_osu : put_imb);
        }
    }
    td_free(room);
    return td_text_status(out);
}

static bool is_format(const char *format) {
    size_t length = strlen(format);
    for (const char *at = TD_COLL_FORMATS; *at != '\0';) {
        size_t here = strcspn(at, "|");
        if (here == length && strncmp(at, format, length) == 0) {
            return true;
        }
        at += here + (at[here] == '|');
    }
    return false;
}

td_status td_coll_tables(const td_facts *facts, const char *format, td_text *out) {
    if (!is_format(format)) {
        return td_fail(TD_EUSAGE, "format \"%s\"; expected " TD_COLL_FORMATS, format);
    }
    entries all;
    TD_TRY(collect(facts, &all));
    td_status status =
        strcmp(format, "json") == 0 ? put_json(out, &all) : put_tables(&all, format, out);
    td_free(all.at);
    return status;
}

td_status td_coll_tables_of(const char *directory, const char *format, td_text *out) {
    td_record_set set;
    td_facts facts;
    TD_TRY(td_facts_read(directory, &set, &facts));
    td_status status = td_coll_tables(&facts, format, out);
    td_facts_destroy(&facts);
    td_record_set_free(&set);
    return status;
}
