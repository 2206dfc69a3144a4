/* SPDX-License-Identifier: Apache-2.0
 * Every row of collectives.inc over thread and process ranks, 1 to 16 of them, against naive
 * references computed from the formula of the inputs: whole numbers, whose sums are exact in any
 * order, and reals, whose bits show the order of the sum.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "collectives/comm.h"

enum { MAX_COUNT = 20011, GUARD = 64, MAX_P = 16 };

typedef enum pattern { WHOLE, REAL } pattern;

/* The input of rank r at element i: a mixing function, so that any rank knows all inputs. */
static float input(pattern kind, int r, int64_t i) {
    uint64_t x = (uint64_t)(i * MAX_P + r + 1) * UINT64_C(0x9E3779B97F4A7C15);
    x ^= x >> 29;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 32;
    if (kind == WHOLE) {
        return (float)(int)(x % 31) - 15; /* sums of 16 stay within the 256 that bf16 holds */
    }
    return (float)((double)(x >> 11) * 0x1p-53 - 0.5) * (x % 7 == 0 ? 1000.0f : 1.0f);
}

static float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Round to nearest even by comparing distances, not by the trick of the code under test. */
static uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t low = bits & 0xFFFF0000u, high = low + 0x10000;
    double below = (double)value - as_float(low), above = (double)as_float(high) - value;
    below = below < 0 ? -below : below;
    above = above < 0 ? -above : above;
    bool up = above < below || (above == below && (low >> 16 & 1) != 0);
    return (uint16_t)((up ? high : low) >> 16);
}

static float from_bf16(uint16_t value) {
    return as_float((uint32_t)value << 16);
}

static float rounded(float value, td_dtype dtype) {
    return dtype == TD_BF16 ? from_bf16(to_bf16(value)) : value;
}

static float load(pattern kind, int r, int64_t i, td_dtype dtype) {
    return rounded(input(kind, r, i), dtype);
}

/* The balanced tree over ranks, written as the binary counter that defines it. */
static float tree_sum(pattern kind, int p, int64_t i, td_dtype dtype) {
    float stack[8];
    int depth = 0;
    for (int r = 0; r < p; r++) {
        stack[depth++] = load(kind, r, i, dtype);
        for (int ones = r; (ones & 1) != 0; ones >>= 1, depth--) {
            stack[depth - 2] += stack[depth - 1];
        }
    }
    for (; depth > 1; depth--) {
        stack[depth - 2] += stack[depth - 1];
    }
    return rounded(stack[0], dtype);
}

/* The chain of the ring: from the rank after the chunk's owner round to the owner. */
static float ring_sum(pattern kind, int p, int64_t count, int64_t i, td_dtype dtype) {
    int c = 0;
    while (td_chunk_first(count, c + 1, p) <= i) {
        c++;
    }
    float sum = load(kind, (c + 1) % p, i, dtype);
    for (int k = 2; k <= p; k++) {
        sum = rounded(sum + load(kind, (c + k) % p, i, dtype), dtype);
    }
    return sum;
}

static float exact_sum(int p, int64_t i) {
    int sum = 0;
    for (int r = 0; r < p; r++) {
        sum += (int)input(WHOLE, r, i);
    }
    return (float)sum;
}

static void store(void *buffer, int64_t i, float value, td_dtype dtype) {
    if (dtype == TD_BF16) {
        ((uint16_t *)buffer)[i] = to_bf16(value);
    } else {
        ((float *)buffer)[i] = value;
    }
}

/* One call and what must come of it; worker 0 prepares and judges. */
typedef struct trial {
    const td_collective *row;
    td_comm *comm;
    td_rank *rank;
    unsigned char *area; /* guard, buffer, guard */
    int64_t count;
    td_dtype dtype;
    pattern kind;
    td_status status; /* of all calls so far, and the first message */
    char text[256];
} trial;

static float expected(const trial *t, int p, int64_t i) {
    if (strcmp(t->row->operation, "allgather") == 0) {
        int c = 0;
        while (td_chunk_first(t->count, c + 1, p) <= i) {
            c++;
        }
        return load(t->kind, c, i, t->dtype);
    }
    if (t->kind == WHOLE) {
        return exact_sum(p, i);
    }
    return strcmp(t->row->order, "tree") == 0 ? tree_sum(t->kind, p, i, t->dtype)
                                              : ring_sum(t->kind, p, t->count, i, t->dtype);
}

static void prepare(trial *t) {
    int me = td_comm_rank(t->comm);
    memset(t->area, 0xA5, GUARD + MAX_COUNT * sizeof(float) + GUARD);
    for (int64_t i = 0; i < t->count; i++) {
        store(t->area + GUARD, i, input(t->kind, me, i), t->dtype);
    }
}

static void judge(trial *t) {
    int p = td_comm_size(t->comm), me = td_comm_rank(t->comm);
    int64_t bytes = td_dtype_bytes(t->dtype), first = 0, last = t->count;
    if (strcmp(t->row->operation, "barrier") == 0) {
        last = 0;
    } else if (strcmp(t->row->operation, "reduce_scatter") == 0) {
        first = td_chunk_first(t->count, me, p);
        last = td_chunk_first(t->count, me + 1, p);
    }
    const char *what = NULL;
    int64_t where = 0;
    for (int64_t i = first; i < last && what == NULL; i++) {
        unsigned char right[4] = {0};
        store(right, 0, expected(t, p, i), t->dtype);
        if (memcmp(t->area + GUARD + i * bytes, right, (size_t)bytes) != 0) {
            what = "a wrong value";
            where = i;
        }
    }
    unsigned char *end = t->area + GUARD + t->count * bytes;
    for (int64_t i = 0; i < GUARD; i++) {
        if (t->area[i] != 0xA5 || end[i] != 0xA5) {
            what = "a write outside the buffer";
            where = i;
        }
    }
    if (what != NULL && t->status == TD_OK) {
        snprintf(t->text, sizeof t->text, "%s/%s p%d %s count %lld %s: %s at %lld",
                 t->row->operation, t->row->algorithm, p, t->dtype == TD_BF16 ? "bf16" : "f32",
                 (long long)t->count, t->kind == WHOLE ? "whole" : "real", what, (long long)where);
        t->status = TD_ECHECK;
    }
}

static void run_trial(trial *t, td_worker *worker) {
    if (worker->id == 0) {
        prepare(t);
    }
    td_status status = t->row->run(t->comm, worker, t->area + GUARD, t->count, t->dtype);
    if (worker->id == 0) {
        if (status != TD_OK && t->status == TD_OK) {
            t->status = status;
            snprintf(t->text, sizeof t->text, "%s", td_error());
        }
        judge(t);
    }
}

static void run_all(void *arg, td_worker *worker) {
    trial *t = arg;
    int rows, p = td_comm_size(t->comm);
    const td_collective *table = td_collectives(&rows);
    const int64_t counts[] = {0, 1, p - 1, p, p + 1, 17, 64 * p + 1, p <= 3 ? MAX_COUNT : 1009};
    for (int row = 0; row < rows; row++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            for (int variant = 0; variant < 4; variant++) {
                if (worker->id == 0) {
                    t->row = &table[row];
                    t->count = counts[c];
                    t->dtype = variant % 2 == 0 ? TD_F32 : TD_BF16;
                    t->kind = variant < 2 ? WHOLE : REAL;
                }
                td_team_barrier(worker);
                run_trial(t, worker);
                td_team_barrier(worker);
            }
        }
    }
}

static td_status all_rows(td_rank *rank, void *arg) {
    (void)arg;
    td_team_options options = {
        .workers = rank->workers, .pu = rank->pu, .shares_cpus = rank->shares_cpus};
    int64_t staging = td_comm_bytes(rank->count, MAX_COUNT, TD_F32);
    trial t = {.rank = rank, .area = rank->segment + staging};
    td_team *team = NULL;
    TD_TRY(td_comm_create(rank, rank->segment, staging, &t.comm));
    TD_TRY(td_team_create(&options, &team));
    td_team_run(team, run_all, &t);
    td_team_destroy(team);
    td_comm_destroy(t.comm);
    return t.status == TD_OK ? TD_OK : td_fail(t.status, "%s", t.text);
}

typedef struct setting {
    td_rank_kind kind;
    int ranks, workers;
} setting;

static td_group_options options_for(setting s) {
    td_group_options options = {.segment_bytes =
                                    (size_t)td_comm_bytes(s.ranks, MAX_COUNT, TD_F32) + (1 << 17),
                                .deadline_ns = INT64_C(20000000000)};
    options.layout = (td_layout){.ranks = s.ranks,
                                 .workers = s.workers,
                                 .kind = s.kind,
                                 .scope = "machine",
                                 .unit = "pu",
                                 .order = "close",
                                 .smt = 1,
                                 .over = true};
    return options;
}

ParameterizedTestParameters(collectives, every_row_on_every_layout) {
    static setting settings[2 * MAX_P + 6] = {{TD_RANK_THREAD, 1, 3},  {TD_RANK_THREAD, 2, 2},
                                              {TD_RANK_PROCESS, 2, 2}, {TD_RANK_PROCESS, 3, 3},
                                              {TD_RANK_PROCESS, 5, 2}, {TD_RANK_THREAD, 4, 4}};
    for (int p = 1; p <= MAX_P; p++) {
        settings[4 + 2 * p] = (setting){TD_RANK_THREAD, p, 1};
        settings[5 + 2 * p] = (setting){TD_RANK_PROCESS, p, 1};
    }
    return cr_make_param_array(setting, settings, sizeof settings / sizeof settings[0]);
}

ParameterizedTest(setting *s, collectives, every_row_on_every_layout) {
    td_group_options options = options_for(*s);
    cr_assert_eq(td_group_run(&options, all_rows, NULL), TD_OK, "p%dxt%d:%s: %s", s->ranks,
                 s->workers, s->kind == TD_RANK_PROCESS ? "process" : "thread", td_error());
}

Test(collectives, the_judge_can_fail) {
    cr_assert_eq(to_bf16(1.0f), 0x3F80);
    cr_assert_eq(to_bf16(as_float(0x3F808000)), 0x3F80, "ties go to even");
    cr_assert_eq(to_bf16(as_float(0x3F818000)), 0x3F82, "ties go to even");
    cr_assert_eq(to_bf16(as_float(0x3F808001)), 0x3F81);
    int differ = 0, inexact = 0;
    for (int64_t i = 0; i < 1000; i++) {
        differ += tree_sum(REAL, 8, i, TD_F32) != ring_sum(REAL, 8, 1000, i, TD_F32);
        inexact += tree_sum(REAL, 8, i, TD_BF16) != tree_sum(REAL, 8, i, TD_F32);
        cr_assert_eq(tree_sum(WHOLE, 13, i, TD_BF16), exact_sum(13, i));
    }
    cr_assert(differ > 100 && inexact > 900, "the reals do not show the order of the sum");
}

Test(collectives, table) {
    int count;
    const td_collective *rows = td_collectives(&count);
    cr_assert_geq(count, 5);
    for (int i = 0; i < count; i++) {
        cr_assert_eq(td_collective_find(rows[i].operation, rows[i].algorithm), &rows[i]);
        cr_assert_eq(rows[i].busbw_factor(1), 0);
        cr_assert_eq(rows[i].memory_bytes(1, 100, TD_F32), 0);
    }
    cr_assert_null(td_collective_find("allreduce", "carrier_pigeon"));
    const td_collective *tree = td_collective_find("allreduce", "tree");
    const td_collective *ring = td_collective_find("allreduce", "ring");
    cr_assert_eq(tree->busbw_factor(4), 1.5);
    cr_assert_eq(tree->memory_bytes(4, 100, TD_BF16), 2 * 4 * 200);
    cr_assert_eq(ring->memory_bytes(2, 100, TD_F32), 5 * 400);
    cr_assert_eq(td_collective_find("allgather", "ring")->busbw_factor(2), 0.5);
}
