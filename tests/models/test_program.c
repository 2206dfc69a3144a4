/* SPDX-License-Identifier: Apache-2.0 */
#include "models/program.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "train_case.h"

typedef struct trace {
    char text[64];
    int n;
} trace;

static void note_a(void *arg) {
    trace *t = arg;
    t->text[t->n++] = 'a';
}

static void note_b(void *arg) {
    trace *t = arg;
    t->text[t->n++] = 'b';
}

static void note_c(void *arg) {
    trace *t = arg;
    t->text[t->n++] = 'c';
}

static td_team *make_team(int workers, int64_t scratch) {
    td_team_options options = {.workers = workers, .scratch_bytes = scratch, .shares_cpus = true};
    td_team *team;
    td_case_ok(td_team_create(&options, &team));
    return team;
}

/* Ops run by phase, whatever the order in which they were added; equal phases keep that order. */
Test(program, phases_order_ops) {
    for (int workers = 1; workers <= 3; workers++) {
        td_program *program;
        trace t = {0};
        td_case_ok(td_program_create(&program));
        td_program_call(program, 7, note_c, &t, "late");
        int next = td_program_call(program, 2, note_a, &t, "first");
        cr_assert_eq(next, 3);
        td_program_call(program, 7, note_a, &t, "late too");
        td_program_call(program, next, note_b, &t, "second");
        td_case_ok(td_program_finish(program, workers));
        td_team *team = make_team(workers, 0);
        td_case_ok(td_program_run(program, team));
        cr_assert_str_eq(t.text, "abca");
        td_case_ok(td_program_run(program, team));
        cr_assert_str_eq(t.text, "abcaabca");
        td_program_cost cost;
        td_program_total_cost(program, &cost);
        cr_assert(cost.runs == 2 && cost.phases == 3 && cost.ops == 4 && cost.ns > 0);
        td_team_destroy(team);
        td_program_destroy(program);
    }
}

/* Work and waits of a worker are its whole time, to the tick; ops follow one another; and the waits
 * of ops are those of workers. */
static void check_clock(const td_program *program, int workers) {
    double waits = 0;
    for (int worker = 0; worker < workers; worker++) {
        td_worker_ticks ticks;
        td_program_worker_ticks(program, worker, &ticks);
        cr_assert(ticks.work > 0 && ticks.work + ticks.wait == ticks.span);
        uint64_t before = 0;
        for (int i = 0; i < td_program_ops(program); i++) {
            uint64_t start, end;
            td_program_op_span(program, i, worker, &start, &end);
            cr_assert(start >= before && end >= start);
            before = end;
        }
    }
    td_program_cost cost;
    td_program_total_cost(program, &cost);
    for (int i = 0; i < td_program_ops(program); i++) {
        td_op_cost op;
        td_program_op_cost(program, i, &op);
        waits += op.wait_ns;
    }
    cr_assert(fabs(waits - cost.wait_ns) <= 1e-6 * cost.wait_ns + 1e-6);
}

enum { N = 70000 };

/* Two kernels, the second reading what the first wrote: shares and barriers must fit. */
Test(program, kernels_share_tiles_and_wait_for_phases) {
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    float *x = td_alloc(N * sizeof(float)), *y = td_alloc(N * sizeof(float));
    float *expected = td_alloc(N * sizeof(float));
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i % 17) - 8;
    }
    for (int workers = 1; workers <= 4; workers++) {
        td_program *program;
        td_case_ok(td_program_create(&program));
        memset(y, 0xFF, N * sizeof(float));
        int phase = TD_PROGRAM_ADD(program, 0, gelu_f32, "gelu", "one", .n = N,
                                   .act = TD_ACT_GELU_ERF, .x = x, .y = y);
        TD_PROGRAM_ADD(program, phase, gelu_f32, "gelu", "two", .n = N, .act = TD_ACT_GELU_ERF,
                       .x = y, .y = y);
        td_case_ok(td_program_finish(program, workers));
        td_team *team = make_team(workers, td_program_scratch_bytes(program));
        td_case_ok(td_program_run(program, team));
        if (workers == 1) {
            memcpy(expected, y, N * sizeof(float));
            cr_assert(fabs((double)y[16] - 8) < 1e-5);
        }
        cr_assert_eq(memcmp(y, expected, N * sizeof(float)), 0, "%d workers", workers);
        cr_assert_eq(td_program_ops(program), 2);
        td_op_cost op;
        td_program_op_cost(program, 1, &op);
        cr_assert_str_eq(op.name, "two");
        cr_assert(op.tiles == 5 && op.flops > 0 && op.bytes > 0 && op.ns_max > 0);
        cr_assert(op.ns_sum >= op.ns_max);
        check_clock(program, workers);
        td_program_reset_cost(program);
        td_program_op_cost(program, 1, &op);
        cr_assert(op.ns_max <= 0);
        td_team_destroy(team);
        td_program_destroy(program);
    }
    td_free(x);
    td_free(y);
    td_free(expected);
}

typedef struct watched {
    float *y;
    bool seen;
} watched;

/* Keeps worker 0 until every element has been written by somebody else, half a minute at most. */
static void wait_for_all(void *arg) {
    watched *w = arg;
    int64_t end = td_now_ns() + INT64_C(30000000000);
    for (int i = 0; i < N && td_now_ns() < end;) {
        uint32_t bits =
            atomic_load_explicit((_Atomic uint32_t *)(void *)&w->y[i], memory_order_relaxed);
        i += bits != UINT32_MAX;
        w->seen = i == N;
    }
}

/* What a late worker has not begun is done by those that are there, and no tile twice. */
Test(program, workers_help_a_late_one) {
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    float *x = td_alloc(N * sizeof(float)), *y = td_alloc(N * sizeof(float));
    memset(x, 0, N * sizeof(float));
    for (int workers = 2; workers <= 3; workers++) {
        watched w = {.y = y};
        td_program *program;
        td_case_ok(td_program_create(&program));
        memset(y, 0xFF, N * sizeof(float));
        td_program_call(program, 0, wait_for_all, &w, "late");
        TD_PROGRAM_ADD(program, 0, gelu_f32, "gelu", "all", .n = N, .act = TD_ACT_GELU_ERF, .x = x,
                       .y = y);
        td_case_ok(td_program_finish(program, workers));
        td_team *team = make_team(workers, td_program_scratch_bytes(program));
        td_case_ok(td_program_run(program, team));
        cr_assert(w.seen, "%d workers", workers);
        check_clock(program, workers);
        td_team_destroy(team);
        td_program_destroy(program);
    }
    td_free(x);
    td_free(y);
}

/* Parts name ops and nothing else; work and waits of all ops are the workers' whole time. An op and
 * a barrier can be timed alone, and an op alone leaves what it leaves in a run. */
Test(program, parts_cover_a_run_and_ops_can_be_timed_alone) {
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    float *x = td_alloc_zero(N * sizeof(float)), *y = td_alloc(N * sizeof(float));
    td_program *program;
    td_case_ok(td_program_create(&program));
    const td_gelu_f32_args gelu = {.n = N, .act = TD_ACT_GELU_ERF, .x = x, .y = y};
    td_program_kernel(program, 0, TD_OP_gelu_f32, &gelu, "gelu", "none");
    td_program_part(program, "late");
    td_program_kernel(program, 2, TD_OP_gelu_f32, &gelu, "gelu", "two");
    td_program_part(program, "early");
    td_program_kernel(program, 1, TD_OP_gelu_f32, &gelu, "gelu", "one");
    td_case_ok(td_program_finish(program, 2));
    td_team *team = make_team(2, td_program_scratch_bytes(program));
    td_case_ok(td_program_run(program, team));
    static const char *const parts[] = {"", "early", "late"};
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        td_op_cost op;
        td_program_op_cost(program, i, &op);
        cr_expect_str_eq(op.part, parts[i]);
        sum += op.ns_sum / 2 + op.wait_ns;
    }
    td_worker_ticks first, second;
    td_program_worker_ticks(program, 0, &first);
    td_program_worker_ticks(program, 1, &second);
    double mean = (double)(first.span + second.span) / 2 / td_tsc_hz() * 1e9;
    cr_expect(fabs(sum - mean) <= 1e-6 * mean, "parts %.3f ns, workers %.3f", sum, mean);
    memset(y, 0xFF, N * sizeof(float));
    cr_expect_gt(td_program_time_op(program, team, 1), 0);
    cr_expect_arr_eq(y, x, N * sizeof(float)); /* of zeros, zeros */
    cr_expect_gt(td_program_time_barrier(team), 0);
    td_program_clear(program);
    td_program_kernel(program, 0, TD_OP_gelu_f32, &gelu, "gelu", "again");
    td_case_ok(td_program_finish(program, 2));
    td_op_cost op;
    td_program_op_cost(program, 0, &op);
    cr_expect_str_eq(op.part, "");
    td_team_destroy(team);
    td_program_destroy(program);
    td_free(x);
    td_free(y);
}

/* The first op's source and its width are read when the run starts; costs follow. */
Test(program, arguments_vary_and_a_cleared_program_can_be_built_again) {
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    float from[4] = {1, 2, 3, 4}, other[4] = {5, 6, 7, 8}, to[4] = {0};
    const float *source = from;
    int64_t cols = 4;
    td_program *program;
    td_case_ok(td_program_create(&program));
    for (int pass = 0; pass < 2; pass++) {
        td_program_clear(program);
        for (int i = 0; i < 100; i++) {
            char name[TD_NODE_NAME];
            snprintf(name, sizeof(name), "copy.%d", i);
            TD_PROGRAM_ADD(program, i, rows_copy_f32, "pool", name, .groups = 1, .rows = 1,
                           .cols = 4, .to = to, .to_ld = 4, .from_ld = 4, .from = to);
            if (i == 0) {
                td_program_vary(program, offsetof(td_rows_copy_f32_args, from), &source);
                td_program_vary(program, offsetof(td_rows_copy_f32_args, cols), &cols);
            }
        }
        td_case_ok(td_program_finish(program, 1));
        cr_assert_eq(td_program_ops(program), 100);
    }
    td_team *team = make_team(1, 0);
    td_case_ok(td_program_run(program, team));
    cr_assert_arr_eq(to, from, sizeof(from));
    source = other;
    cols = 2;
    td_case_ok(td_program_run(program, team));
    cr_assert_arr_eq(to, ((float[]){5, 6, 3, 4}), sizeof(to));
    td_op_cost op;
    td_program_op_cost(program, 0, &op);
    cr_assert(op.bytes > 23.9 && op.bytes < 24.1, "the mean of 32 and 16 bytes is %g", op.bytes);
    td_program_reset_cost(program);
    td_case_ok(td_program_run(program, team));
    td_program_op_cost(program, 0, &op);
    cr_assert(op.bytes > 15.9 && op.bytes < 16.1, "16 bytes are %g", op.bytes);
    td_team_destroy(team);
    td_program_destroy(program);
}
