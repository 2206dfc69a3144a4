/* SPDX-License-Identifier: Apache-2.0
 * The runner against workloads that misbehave: it must say so, and must not time them.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "bench/emit.h"
#include "bench/runner.h"
#include "threads/bind.h"

typedef enum behaviour {
    GOOD,
    REGION,
    WRONG,
    WRONG_RANK,
    CRASH,
    LEAVE,
    REFUSE,
    ABSENT,
    HANG,
    WANDER
} behaviour;

static behaviour act;
static _Atomic int64_t *steps; /* in the rank's segment */

static td_status fake_setup(td_bench *bench) {
    bench->state = td_alloc_zero(1);
    if (act == ABSENT) {
        return td_fail(TD_ESKIP, "no such device");
    }
    if (act == CRASH) {
        raise(SIGSEGV);
    }
    if (act == LEAVE) {
        _exit(0);
    }
    return act == REFUSE ? td_fail(TD_EIO, "the disk is full") : TD_OK;
}

static td_status fake_verify(td_bench *bench) {
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "by eye");
    bool wrong = act == WRONG || (act == WRONG_RANK && bench->rank->rank == 1);
    return wrong ? td_fail(TD_ECHECK, "rank %d has 41, expected 42", bench->rank->rank) : TD_OK;
}

static td_status fake_step(td_bench *bench) {
    steps = (_Atomic int64_t *)(void *)bench->rank->segment;
    atomic_fetch_add(steps, 1);
    while (act == HANG) {
        pause();
    }
    if (act == WANDER && bench->rank->rank == 0) {
        td_cpu_mask both = {0};
        td_cpu_mask_add(&both, 0);
        td_cpu_mask_add(&both, 1);
        td_bind_set(&both);
    }
    return TD_OK;
}

static void fake_region(td_bench *bench, td_worker *worker) {
    atomic_fetch_add((_Atomic int64_t *)(void *)bench->rank->segment, worker->id == 0);
}

static void fake_cost(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_TIME, .items = 1};
}

/* The number of steps goes out as a number of the record. */
static void fake_finish(td_bench *bench) {
    if (bench->rank->rank == 0) {
        td_outcome_number(bench->outcome, "steps",
                          (double)atomic_load((_Atomic int64_t *)(void *)bench->rank->segment));
    }
}

static void fake_teardown(td_bench *bench) {
    td_free(bench->state);
}

static const td_workload stepped = {.name = "fake",
                                    .setup = fake_setup,
                                    .verify = fake_verify,
                                    .step = fake_step,
                                    .cost = fake_cost,
                                    .finish = fake_finish,
                                    .teardown = fake_teardown};
static const td_workload regional = {.name = "fake",
                                     .setup = fake_setup,
                                     .verify = fake_verify,
                                     .region = fake_region,
                                     .cost = fake_cost,
                                     .finish = fake_finish,
                                     .teardown = fake_teardown};

/* Two companions: each sample tells how many came before it, so their order shows. */
static int64_t turns;

static td_status paired_setup(td_bench *bench) {
    bench->state = td_alloc_zero(1);
    bench->outcome->n_companions = 3;
    for (int i = 0; i < 3; i++) {
        bench->outcome->companions[i].state = i < 2 ? TD_OUTCOME_OK : TD_OUTCOME_SKIPPED;
    }
    return TD_OK;
}

static td_status paired_step(td_bench *bench) {
    (void)bench;
    return TD_OK;
}

static td_status paired_beside(td_bench *bench, int companion, int64_t repeat, double *ns) {
    cr_assert(companion < 2 && repeat >= 1 && bench->outcome->n_samples > 0);
    *ns = (double)++turns;
    return TD_OK;
}

static const td_workload paired = {.name = "fake",
                                   .setup = paired_setup,
                                   .verify = fake_verify,
                                   .step = paired_step,
                                   .beside = paired_beside,
                                   .cost = fake_cost,
                                   .teardown = fake_teardown};

static void run_fake(behaviour how, const char *layout_text, td_runner_options options,
                     td_outcome *out) {
    td_case subject = {.workload = how == REGION ? &regional : &stepped, .id = "fake/case"};
    td_layout layout;
    td_topology *topology;
    act = how;
    cr_assert_eq(td_layout_parse(layout_text, &layout), TD_OK, "%s", td_error());
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK, "%s", td_error());
    options.topology = topology;
    options.min_time_ns = 1000000;
    cr_assert_eq(td_runner_run(&subject, &layout, &options, "", NULL, NULL, out), TD_OK, "%s",
                 td_error());
    td_topology_destroy(topology);
}

static td_outcome *outcome;
static void make_outcome(void) {
    cr_assert_eq(td_runner_outcome_create(&outcome), TD_OK);
}
static void drop_outcome(void) {
    td_runner_outcome_destroy(outcome);
}
TestSuite(runner, .init = make_outcome, .fini = drop_outcome, .timeout = 60);

static const char *const layouts[] = {"p1xt1", "p1xt2+over", "p2xt1:thread+over",
                                      "p2xt1:process+over", "p2xt2:process+over"};
enum { N_LAYOUTS = sizeof layouts / sizeof layouts[0] };

Test(runner, samples_as_often_as_told) {
    for (int i = 0; i < N_LAYOUTS; i++) {
        for (int how = GOOD; how <= REGION; how++) {
            run_fake((behaviour)how, layouts[i], (td_runner_options){.samples = 9}, outcome);
            cr_assert_eq(outcome->state, TD_OUTCOME_OK, "%s: %s", layouts[i], outcome->reason);
            cr_assert_eq(outcome->n_samples, 9);
            cr_assert_str_eq(outcome->method, "by eye");
            /* At least the samples themselves, each of `repeat` steps; the rest calibrates. */
            cr_assert(outcome->numbers[0].value >= (double)(9 * outcome->repeat), "%g steps",
                      outcome->numbers[0].value);
            for (int s = 0; s < 9; s++) {
                cr_assert(outcome->samples_ns[s] > 0);
            }
        }
    }
}

/* The binding is read back at the end: what was never bound, and what was and is no more, shows. */
Test(runner, binding_is_read_back) {
    static const char *const bound[] = {"p1xt1", "p1xt2+over", "p2xt1:thread+over",
                                        "p2xt2:process+over"};
    td_layout layout;
    td_topology *topology;
    int pu[TD_MAX_WORKERS];
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK, "%s", td_error());
    bool several = td_topology_get_info(topology)->pus > 1;
    for (size_t i = 0; i < sizeof bound / sizeof bound[0]; i++) {
        run_fake(GOOD, bound[i], (td_runner_options){.samples = 3}, outcome);
        cr_assert_eq(td_layout_parse(bound[i], &layout), TD_OK);
        cr_assert_eq(td_layout_resolve(&layout, topology, pu), TD_OK, "%s", td_error());
        int workers = layout.ranks * layout.workers;
        cr_assert_eq(outcome->workers_read, workers, "%s: %d", bound[i], outcome->workers_read);
        cr_assert_eq(outcome->workers_bound, workers, "%s: %d", bound[i], outcome->workers_bound);
        for (int w = 0; w < workers; w++) {
            cr_assert_eq(outcome->binding[w], pu[w], "%s: worker %d", bound[i], w);
        }
        cr_assert_eq(outcome->binding_note[0], '\0');
    }
    td_topology_destroy(topology);
    run_fake(GOOD, "p2xt1:process@none", (td_runner_options){.samples = 3}, outcome);
    cr_assert_eq(outcome->workers_read, 2);
    cr_assert_eq(outcome->workers_bound, 0);
    cr_assert(!several || outcome->binding[1] == -1);
    run_fake(WANDER, "p2xt1:process+over", (td_runner_options){.samples = 3}, outcome);
    cr_assert_eq(outcome->workers_read, 2);
    cr_assert_eq(outcome->workers_bound, several ? 1 : 2);
}

Test(runner, refuses_to_time_a_wrong_answer) {
    for (int i = 0; i < N_LAYOUTS; i++) {
        run_fake(WRONG, layouts[i], (td_runner_options){.samples = 3}, outcome);
        cr_assert_eq(outcome->state, TD_OUTCOME_FAILED, "%s", layouts[i]);
        cr_assert_eq(outcome->n_samples, 0);
        cr_assert_eq(outcome->n_numbers, 0, "it was stepped");
        cr_assert(strstr(outcome->reason, "expected 42"), "%s", outcome->reason);
    }
}

Test(runner, one_wrong_rank_fails_all) {
    for (int i = 2; i < N_LAYOUTS; i++) {
        run_fake(WRONG_RANK, layouts[i], (td_runner_options){.samples = 3}, outcome);
        cr_assert_eq(outcome->state, TD_OUTCOME_FAILED, "%s", layouts[i]);
        cr_assert_eq(outcome->n_samples, 0);
        cr_assert(strstr(outcome->reason, "rank 1 has 41"), "%s", outcome->reason);
    }
}

Test(runner, survives_what_a_case_does_to_itself) {
    run_fake(CRASH, "p1xt1", (td_runner_options){.samples = 3}, outcome);
    cr_assert_eq(outcome->state, TD_OUTCOME_FAILED);
    cr_assert(outcome->reason[0], "no reason");
    run_fake(LEAVE, "p1xt1", (td_runner_options){.samples = 3}, outcome);
    cr_assert_eq(outcome->state, TD_OUTCOME_FAILED);
    cr_assert(strstr(outcome->reason, "ended early"), "%s", outcome->reason);
    run_fake(REFUSE, "p1xt1", (td_runner_options){.samples = 3}, outcome);
    cr_assert_eq(outcome->state, TD_OUTCOME_FAILED);
    cr_assert(strstr(outcome->reason, "the disk is full"), "%s", outcome->reason);
    run_fake(ABSENT, "p1xt1", (td_runner_options){.samples = 3}, outcome);
    cr_assert_eq(outcome->state, TD_OUTCOME_SKIPPED);
    cr_assert(strstr(outcome->reason, "no such device"), "%s", outcome->reason);
    run_fake(HANG, "p1xt1", (td_runner_options){.samples = 3, .limit_ns = 300000000}, outcome);
    cr_assert_eq(outcome->state, TD_OUTCOME_FAILED);
    cr_assert(strstr(outcome->reason, "not done after"), "%s", outcome->reason);
}

Test(runner, injected_faults_are_found) {
    run_fake(GOOD, "p1xt1", (td_runner_options){.samples = 3, .inject = {.kind = TD_INJECT_WRONG}},
             outcome);
    cr_assert_eq(outcome->state, TD_OUTCOME_FAILED);
    cr_assert_eq(outcome->n_samples, 0);
    run_fake(GOOD, "p1xt1", (td_runner_options){.samples = 3, .inject = {.kind = TD_INJECT_CRASH}},
             outcome);
    cr_assert_eq(outcome->state, TD_OUTCOME_FAILED);
    cr_assert_eq(outcome->n_samples, 0);
}

/* ---- records ---- */

/* The record of the case, or of companion `which`, written and read back. */
static void emit_one(const td_case *subject, const td_outcome *out, int which, td_row *row,
                     td_record_set *set) {
    char path[] = "/tmp/tandem-emit-XXXXXX", *warning;
    td_layout layout;
    td_record_writer *writer;
    int handle = mkstemp(path);
    cr_assert_geq(handle, 0);
    close(handle);
    cr_assert_eq(td_layout_parse("p1xt1", &layout), TD_OK);
    json_t *empty = json_object();
    cr_assert_eq(td_record_open(path, empty, empty, &writer), TD_OK, "%s", td_error());
    td_status status =
        which < 0 ? td_emit_outcome(writer, subject, &layout, out, "tandem bench x", row)
                  : td_emit_companion(writer, subject, &layout, out, which, "tandem bench x", row);
    cr_assert_eq(status, TD_OK, "%s", td_error());
    cr_assert_eq(td_record_close(writer), TD_OK);
    cr_assert_eq(td_record_read(path, set, &warning), TD_OK, "%s", td_error());
    td_free(warning);
    json_decref(empty);
    unlink(path);
}

static void emit(const td_case *subject, const td_outcome *out, td_row *row, td_record_set *set) {
    emit_one(subject, out, -1, row, set);
}

static const char *text_of(const td_record_set *set, const char *member) {
    const json_t *record = json_array_get(set->records, 0);
    const char *text = json_string_value(json_object_get(record, member));
    return text ? text : "";
}

Test(runner, a_value_above_its_roof_is_failed) {
    td_case subject = {.workload = &stepped, .id = "fake/case", .provider = "tandem"};
    td_row row;
    td_record_set set;
    outcome->state = TD_OUTCOME_OK;
    outcome->n_samples = 3;
    outcome->max_ulp = -1;
    /* A teraflop in a nanosecond, then a thousand in a second: above, and far below, any roof. */
    outcome->cost = (td_cost){.value = TD_VALUE_FLOPS, .flops = 1e12, .bytes = 1e9};
    outcome->samples_ns[0] = outcome->samples_ns[1] = outcome->samples_ns[2] = 1;
    emit(&subject, outcome, &row, &set);
    cr_assert_eq(row.state, TD_OUTCOME_FAILED);
    cr_assert_str_eq(text_of(&set, "status"), "failed");
    cr_assert(strstr(text_of(&set, "reason"), "of its roof"), "%s", text_of(&set, "reason"));
    td_record_set_free(&set);
    outcome->cost.flops = 1000;
    outcome->samples_ns[0] = outcome->samples_ns[1] = outcome->samples_ns[2] = 1e9;
    emit(&subject, outcome, &row, &set);
    cr_assert_eq(row.state, TD_OUTCOME_OK, "%s", row.reason);
    cr_assert_str_eq(text_of(&set, "status"), "ok");
    cr_assert_str_eq(text_of(&set, "unit"), "GFLOP/s");
    td_record_set_free(&set);
}

Test(runner, a_failed_case_has_a_record_without_a_value) {
    td_case subject = {.workload = &stepped, .id = "fake/case", .provider = "tandem"};
    td_row row;
    td_record_set set;
    outcome->state = TD_OUTCOME_FAILED;
    outcome->max_ulp = -1;
    strcpy(outcome->reason, "rank 1 has 41");
    emit(&subject, outcome, &row, &set);
    const json_t *record = json_array_get(set.records, 0);
    cr_assert_str_eq(text_of(&set, "status"), "failed");
    cr_assert_str_eq(text_of(&set, "reason"), "rank 1 has 41");
    cr_assert_null(json_object_get(record, "value"));
    cr_assert_null(json_object_get(record, "samples_ns"));
    cr_assert(json_is_false(json_object_get(json_object_get(record, "check"), "ok")));
    td_record_set_free(&set);
}

/* One sample of each in turn, another one first each time; what is set aside is not timed. */
Test(runner, companions_alternate_with_the_case) {
    td_case subject = {.workload = &paired, .id = "fake/case", .provider = "tandem"};
    td_layout layout;
    td_topology *topology;
    act = GOOD;
    cr_assert_eq(td_layout_parse("p1xt1", &layout), TD_OK);
    cr_assert_eq(td_topology_create(NULL, &topology), TD_OK);
    td_runner_options options = {
        .topology = topology, .min_time_ns = 1, .limit_ns = INT64_C(60000000000)};
    cr_assert_eq(td_runner_run(&subject, &layout, &options, "", NULL, NULL, outcome), TD_OK);
    cr_assert_eq(outcome->state, TD_OUTCOME_OK, "%s", outcome->reason);
    cr_assert_eq(outcome->n_samples, 9, "%ld alternations", (long)outcome->n_samples);
    const td_companion *first = &outcome->companions[0], *second = &outcome->companions[1];
    cr_assert(first->n == 9 && second->n == 9 && outcome->companions[2].n == 0);
    int swaps = 0;
    for (int i = 0; i < 9; i++) {
        double early = fmin(first->samples_ns[i], second->samples_ns[i]);
        cr_assert_eq((int)early, 2 * i + 1);
        cr_assert_eq((int)fmax(first->samples_ns[i], second->samples_ns[i]), 2 * i + 2);
        swaps += second->samples_ns[i] < first->samples_ns[i];
    }
    cr_assert(swaps > 0 && swaps < 9);
    td_topology_destroy(topology);
}

/* A library of a case is a record of its own, with the library's name and its samples. */
Test(runner, a_library_beside_is_a_record_of_its_own) {
    td_case subject = {.workload = &stepped, .id = "fake/case", .provider = "tandem"};
    td_row row;
    td_record_set set;
    outcome->state = TD_OUTCOME_OK;
    outcome->cost = (td_cost){.value = TD_VALUE_FLOPS, .flops = 1000, .bytes = 1};
    outcome->n_companions = 1;
    td_companion *library = &outcome->companions[0];
    *library =
        (td_companion){.name = "abacus", .version = "1 wood", .state = TD_OUTCOME_OK, .n = 2};
    library->samples_ns[0] = library->samples_ns[1] = 1e9;
    emit_one(&subject, outcome, 0, &row, &set);
    cr_assert_str_eq(row.provider, "abacus");
    cr_assert_str_eq(text_of(&set, "provider"), "abacus");
    cr_assert_str_eq(text_of(&set, "provider_version"), "1 wood");
    cr_assert_str_eq(text_of(&set, "case"), "fake/case");
    cr_assert_eq(json_array_size(json_object_get(json_array_get(set.records, 0), "samples_ns")), 2);
    td_record_set_free(&set);
}
