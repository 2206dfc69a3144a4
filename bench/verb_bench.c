/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/text.h"
#include "bench/ceiling.h"
#include "bench/emit.h"
#include "bench/explain.h"
#include "bench/fingerprint.h"
#include "bench/gbench.h"
#include "bench/mpi_peer.h"
#include "bench/page.h"
#include "bench/selection_file.h"
#include "bench/plan.h"
#include "bench/profile.h"
#include "bench/row_choice.h"
#include "bench/runner.h"
#include "bench/stats.h"
#include "bench/summary.h"
#include "collectives/schedule.h"
#include "kernels/kernel.h"
#include "reports/coll_tables.h"
#include "threads/mpi_ranks.h"

typedef struct bench_options {
    const char *suite, *layouts, *out, *data, *mpi, *format, *inject, *select;
    int64_t min_time_ms, samples, explain_ranks;
    bool no_report, profile, explain;
} bench_options;

static const td_option options_table[] = {
    {"suite", TD_OPTION_CHOICE, offsetof(bench_options, suite), 0, 0, "quick|full", "NAME",
     "which cases: quick (about 6 minutes on 2 cores) or full"},
    {"layouts", TD_OPTION_TEXT, offsetof(bench_options, layouts), 0, 0, NULL, "LIST",
     "comma-separated; default: one worker, all workers, as many ranks (threads, processes); under "
     "mpirun -n P: pPxt1:mpi, the library's own collectives beside ours"},
    {"out", TD_OPTION_TEXT, offsetof(bench_options, out), 0, 0, NULL, "DIR",
     "where records.jsonl and report.html go; default out/<date>-<time>"},
    {"data", TD_OPTION_TEXT, offsetof(bench_options, data), 0, 0, NULL, "DIR",
     "TFRecord shards for the training steps; default: the embedded procedural pairs"},
    {"mpi", TD_OPTION_TEXT, offsetof(bench_options, mpi), 0, 0, NULL, "DIR",
     "MPI libraries to time beside collectives, as make peers leaves them in build/peers/mpi"},
    {"select", TD_OPTION_TEXT, offsetof(bench_options, select), 0, 0, NULL, "FILE",
     "which algorithms the cases coll/OPERATION/chosen call, as tandem tune writes it; default: by "
     "the cost model"},
    {"format", TD_OPTION_CHOICE, offsetof(bench_options, format), 0, 0, TD_COLL_FORMATS, "NAME",
     "print the collectives as that benchmark would, instead of the table"},
    {"min-time-ms", TD_OPTION_INT, offsetof(bench_options, min_time_ms), 1, 600000, NULL, "N",
     "all samples of a case together; default 150, in the full suite 1000"},
    {"samples", TD_OPTION_INT, offsetof(bench_options, samples), 1, TD_OUTCOME_SAMPLES, NULL, "N",
     "exactly so many samples of every case, whatever the time"},
    {"inject", TD_OPTION_TEXT, offsetof(bench_options, inject), 0, 0, NULL, "GLOB=FAULT",
     "put in a fault to see it found: slow:SHARE, wrong or crash"},
    {"profile", TD_OPTION_FLAG, offsetof(bench_options, profile), 0, 0, NULL, NULL,
     "of training steps: a table of their operations, and a timeline in DIR for a trace viewer"},
    {"explain", TD_OPTION_FLAG, offsetof(bench_options, explain), 0, 0, NULL, NULL,
     "instead of measuring, print the schedules of the collectives of GLOB step by step"},
    {"explain-ranks", TD_OPTION_INT, offsetof(bench_options, explain_ranks), 2, TD_EXPLAIN_RANKS,
     NULL, "N", "of those schedules; default 4"},
    {"no-report", TD_OPTION_FLAG, offsetof(bench_options, no_report), 0, 0, NULL, NULL,
     "write records only"},
};
enum { N_OPTIONS = sizeof options_table / sizeof options_table[0] };

static const td_verb_help verb_help = {
    "tandem bench [GLOB] [--options]",
    "Measures cases on layouts, ceilings first. Every case is proved before it is timed, and one "
    "that fails is recorded as failed instead. --benchmark_filter=REGEX and "
    "--benchmark_list_tests choose and list as Google Benchmark does.",
    "  tandem bench\n"
    "  tandem bench 'kernel/gemm_f32/*' --layouts p1xt1,p1xt2\n"
    "  tandem bench step/clip/vit-s-32-alt/b32-f32 --layouts p2xt1:process --data shards\n"
    "  tandem bench 'coll/allreduce/ring/*' --explain\n"
    "  mpirun -n 2 tandem bench 'coll/allreduce/ring/*' --layouts p2xt1:mpi,p2xt1:process\n"
    "  tandem bench 'coll/allreduce/tree/*' --mpi build/peers/mpi --format nccl\n"
    "  tandem bench 'step/clip/vit-b-32/*' --suite full --profile --out profile\n"};

enum { MAX_PEAKS = 192 };

/* Everything of one run. */
typedef struct run {
    const bench_options *options;
    td_topology *topology;
    td_run_plan plan;
    td_bench_settings settings;
    td_selection selection;
    td_runner_options runner;
    td_inject inject;
    char inject_glob[TD_CASE_ID];
    char directory[512], records[560];
    json_t *machine, *header;
    td_record_writer *writer;
    td_outcome *outcome;
    td_progress progress;
    double seconds_all, seconds_done;
    bool marking; /* Google Benchmark runs only to tell what its filter matches */
    td_row *rows;
    int64_t n_rows, n_failed, n_ok, n_selected;
    td_summaries sums;
    const td_peak *peaks[MAX_PEAKS]; /* their rows come first */
    int n_peaks;
    char (*answers)[TD_SHA256_HEX]; /* of each case, from the first layout that has one */
    td_status status;               /* of the machinery */
    const td_item *current;
    int64_t start_ns, item_start_ns;
    char error[TD_OUTCOME_TEXT];
} run;

/* ---- options ---- */

/* GLOB=slow:0.05, GLOB=wrong, GLOB=crash */
static td_status parse_inject(const char *text, run *r) {
    const char *equals = text ? strrchr(text, '=') : NULL;
    if (!text) {
        return TD_OK;
    }
    if (!equals || equals == text || equals - text >= TD_CASE_ID) {
        return td_fail(TD_EUSAGE,
                       "--inject \"%s\"; expected GLOB=slow:SHARE, GLOB=wrong or "
                       "GLOB=crash",
                       text);
    }
    snprintf(r->inject_glob, sizeof r->inject_glob, "%.*s", (int)(equals - text), text);
    const char *fault = equals + 1;
    if (strcmp(fault, "wrong") == 0) {
        r->inject.kind = TD_INJECT_WRONG;
    } else if (strcmp(fault, "crash") == 0) {
        r->inject.kind = TD_INJECT_CRASH;
    } else if (strncmp(fault, "slow:", 5) == 0) {
        r->inject.kind = TD_INJECT_SLOW;
        return td_parse_real(fault + 5, "--inject slow", 0, 100, &r->inject.share);
    } else {
        return td_fail(TD_EUSAGE, "--inject fault \"%s\"; expected slow:SHARE, wrong or crash",
                       fault);
    }
    return TD_OK;
}

/* Splits Google Benchmark's arguments from ours; both arrays keep argv[0] first. */
static td_status split_arguments(int argc, char **argv, char **ours, int *n_ours) {
    static const char *const known[] = {"--benchmark_filter=", "--benchmark_list_tests"};
    char **theirs = td_alloc(((size_t)argc + 1) * sizeof *theirs);
    if (!theirs) {
        return td_fail(TD_ENOMEM, "arguments");
    }
    int n_theirs = 1;
    td_status status = TD_OK;
    theirs[0] = ours[0] = argv[0];
    *n_ours = 1;
    for (int i = 1; i < argc; i++) {
        bool is_known = strncmp(argv[i], known[0], strlen(known[0])) == 0 ||
                        strncmp(argv[i], known[1], strlen(known[1])) == 0;
        if (is_known) {
            theirs[n_theirs++] = argv[i];
        } else if (strncmp(argv[i], "--benchmark_", 12) == 0) {
            status = td_fail(TD_EUSAGE,
                             "%s: expected --benchmark_filter=REGEX or --benchmark_list_tests; "
                             "samples and output have options of their own",
                             argv[i]);
        } else {
            ours[(*n_ours)++] = argv[i];
        }
    }
    ours[*n_ours] = theirs[n_theirs] = NULL;
    const char *unknown = status == TD_OK ? td_gbench_initialize(&n_theirs, theirs) : NULL;
    if (unknown) {
        status = td_fail(TD_EUSAGE, "%s is not understood by Google Benchmark", unknown);
    }
    td_free(theirs);
    return status;
}

/* ---- one item ---- */

static void show_progress(void *arg) {
    run *r = arg;
    double in_item = (double)(td_now_ns() - r->item_start_ns) * 1e-9;
    double about = r->current->subject->seconds;
    double done = r->seconds_done + fmin(in_item, 0.9 * about);
    td_progress_show(&r->progress, done / r->seconds_all, "%s", r->current->name);
}

static void command_of(const run *r, const td_item *item, char *out, size_t size) {
    char layout[TD_LAYOUT_TEXT];
    td_layout_print(&item->layout, layout);
    bool reads_data = strncmp(item->subject->id, "step/", 5) == 0 && r->settings.data;
    bool has_peers = strncmp(item->subject->id, "coll/", 5) == 0 && r->settings.mpi;
    snprintf(out, size, "tandem bench '%s' --layouts %s%s%s%s%s", item->subject->id, layout,
             reads_data ? " --data " : "", reads_data ? r->settings.data : "",
             has_peers ? " --mpi " : "", has_peers ? r->settings.mpi : "");
}

static void count_row(run *r, const td_row *row) {
    r->n_failed += row->state == TD_OUTCOME_FAILED;
    r->n_ok += row->state == TD_OUTCOME_OK;
    if (row->state == TD_OUTCOME_FAILED) {
        td_note(&r->progress, "%s %s %s failed: %s", row->id, row->layout, row->provider,
                row->reason);
    }
}

static td_status measure_item(run *r, const td_item *item) {
    const td_case *subject = item->subject;
    char command[TD_CASE_ID + TD_LAYOUT_TEXT + 512];
    char *answer = r->answers[subject - r->plan.cases.at];
    bool faulty =
        r->inject.kind != TD_INJECT_NONE && (td_case_matches(r->inject_glob, subject->id) ||
                                             td_case_matches(r->inject_glob, item->name));
    r->runner.inject = faulty ? r->inject : (td_inject){.kind = TD_INJECT_NONE};
    r->current = item;
    r->item_start_ns = td_now_ns();
    if (td_mpi_started() && item->layout.kind == TD_RANK_MPI) {
        int64_t which = item - r->plan.items;
        TD_TRY(td_mpi_tell(&which, sizeof which));
    }
    TD_TRY(td_runner_run(subject, &item->layout, &r->runner, answer, show_progress, r, r->outcome));
    r->seconds_done += subject->seconds;
    if (r->outcome->state == TD_OUTCOME_NONE) {
        return TD_OK;
    }
    if (!answer[0] && r->outcome->state == TD_OUTCOME_OK &&
        strcmp(r->outcome->answer_class, "one") == 0) {
        memcpy(answer, r->outcome->sha256, TD_SHA256_HEX);
    }
    command_of(r, item, command, sizeof command);
    td_row *row = &r->rows[r->n_rows++];
    TD_TRY(td_emit_outcome(r->writer, subject, &item->layout, r->outcome, command, row));
    if (r->options->profile && row->state == TD_OUTCOME_OK && r->outcome->n_ops > 0) {
        td_progress_clear(&r->progress);
        TD_TRY(td_profile_print(stdout, subject, &item->layout, r->outcome));
        TD_TRY(td_profile_write_trace(r->directory, subject, &item->layout, r->outcome));
    }
    count_row(r, row);
    for (int i = 0; i < r->outcome->n_companions; i++) {
        if (r->outcome->companions[i].library && row->state == TD_OUTCOME_OK) {
            td_row *beside = &r->rows[r->n_rows++];
            TD_TRY(td_emit_companion(r->writer, subject, &item->layout, r->outcome, i, command,
                                     beside));
            count_row(r, beside);
        }
    }
    if (row->state == TD_OUTCOME_OK && subject->summed) {
        td_summaries_add(&r->sums, &item->layout, r->outcome);
    }
    return TD_OK;
}

/* A rank that MPI has started beside rank 0: it runs what rank 0 runs, and has no say. */
static td_status follow(run *r) {
    td_interrupt_install();
    TD_TRY(td_runner_outcome_create(&r->outcome));
    for (;;) {
        int64_t which;
        TD_TRY(td_mpi_hear(&which, sizeof which));
        if (which < 0) {
            return TD_OK;
        }
        const td_item *item = &r->plan.items[which];
        TD_TRY(td_runner_run(item->subject, &item->layout, &r->runner, "", NULL, NULL, r->outcome));
    }
}

static td_status dismiss_followers(td_status status) {
    const int64_t none = -1;
    char message[TD_OUTCOME_TEXT];
    snprintf(message, sizeof message, "%s", td_error());
    if (td_mpi_started()) {
        TD_TRY(td_mpi_tell(&none, sizeof none));
    }
    return status == TD_OK ? TD_OK : td_fail(status, "%s", message);
}

/* What Google Benchmark calls: first to learn what its filter matches, then to run it. */
typedef struct registered {
    run *r;
    td_item *item;
} registered;

static void on_benchmark(void *user, td_gbench_result *out) {
    registered *one = user;
    run *r = one->r;
    if (r->marking) {
        one->item->selected = true;
        r->seconds_all += one->item->subject->seconds;
        r->n_selected++;
        out->seconds = 1e-9;
        return;
    }
    if (r->status != TD_OK || td_interrupted()) {
        out->error = "not run";
        return;
    }
    int64_t before = r->n_rows;
    r->status = measure_item(r, one->item);
    if (r->status != TD_OK) {
        snprintf(r->error, sizeof r->error, "%s", td_error());
        out->error = r->error;
        return;
    }
    td_stats stats;
    if (r->n_rows == before || r->rows[before].state != TD_OUTCOME_OK ||
        td_stats_compute(r->outcome->samples_ns, r->outcome->n_samples, &stats) != TD_OK) {
        out->error = r->n_rows > before ? r->rows[before].reason : "interrupted";
        return;
    }
    *out = (td_gbench_result){.seconds = stats.p50 * 1e-9,
                              .counters = {stats.p50, stats.mad, stats.min, (double)stats.n}};
}

/* ---- ceilings ---- */

/* Measures a ceiling and keeps a row for it, which is written when the run is over: one that was
 * disturbed is measured again meanwhile. */
static td_status measure_peak(run *r, td_peak_kind kind, td_isa isa, int workers, int64_t bytes) {
    if (td_interrupted()) {
        return TD_OK;
    }
    td_progress_show(&r->progress, 0, "ceilings: %s, %d worker%s", td_peak_row_of(kind)->doing,
                     workers, workers == 1 ? "" : "s");
    if (r->n_peaks == MAX_PEAKS) {
        return td_fail(TD_EUSAGE, "--layouts: more than %d ceilings", MAX_PEAKS);
    }
    TD_TRY(td_ceiling_get(kind, isa, workers, bytes, false, &r->peaks[r->n_peaks]));
    r->n_peaks++;
    r->rows[r->n_rows++] = (td_row){.state = TD_OUTCOME_NONE};
    return TD_OK;
}

/* A ceiling that fails its check is no ceiling to trust, but not a wrong answer either: it is in
 * the report. One that no case has asked for since it was disturbed gets another try here. */
static td_status emit_ceilings(run *r) {
    for (int i = 0; i < r->n_peaks; i++) {
        const td_peak *peak = r->peaks[i];
        char command[96];
        if (peak->disturbed && !td_interrupted()) {
            TD_TRY(td_ceiling_get(peak->kind, peak->isa, peak->workers, peak->bytes, false,
                                  &r->peaks[i]));
        }
        snprintf(command, sizeof command, "tandem bench 'threads/region/*' --layouts p1xt%d",
                 r->peaks[i]->workers);
        TD_TRY(td_emit_peak(r->writer, r->peaks[i], command, &r->rows[i]));
    }
    return TD_OK;
}

static td_status measure_ceilings(run *r) {
    bool done[TD_MAX_WORKERS + 1] = {false};
    td_isa active;
    TD_TRY(td_isa_active(&active));
    const td_isa highest = active;
    active = active > TD_ISA_AVX512 ? TD_ISA_AVX512 : active;
    for (int64_t i = 0; i < r->plan.n_items; i++) {
        const td_item *item = &r->plan.items[i];
        int workers = item->layout.ranks * item->layout.workers;
        /* Workers of other hosts share nothing here that would be a ceiling of theirs. */
        bool apart = item->layout.kind == TD_RANK_MPI && td_mpi_hosts() > 1;
        if (!item->selected || done[workers] || apart) {
            continue;
        }
        done[workers] = true;
        for (int isa = (int)active; isa >= 0; isa--) {
            TD_TRY(measure_peak(r, TD_PEAK_FMA, (td_isa)isa, workers, 0));
        }
        for (td_precision p = TD_PRECISION_F32; p < TD_PRECISION_COUNT; p++) {
            td_peak_kind kind = td_peak_of_code(highest, p);
            if (kind != TD_PEAK_FMA) {
                TD_TRY(measure_peak(r, kind, highest, workers, 0));
            }
        }
        int64_t bytes = td_ceiling_memory_bytes();
        for (td_peak_kind kind = TD_PEAK_READ; kind < TD_PEAK_COUNT; kind++) {
            TD_TRY(measure_peak(r, kind, active, workers, bytes));
        }
    }
    return TD_OK;
}

/* ---- records ---- */

static void utc(char *out, size_t size, const char *format) {
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(out, size, format, &parts);
}

static json_t *run_json(const run *r, int argc, char **argv) {
    char date[40], layouts[256];
    utc(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ");
    td_default_layouts(r->topology, layouts, sizeof layouts);
    td_text command = {0};
    td_text_puts(&command, "tandem");
    for (int i = 0; i < argc; i++) {
        bool quoted = strpbrk(argv[i], "*?$|() ") != NULL;
        td_text_printf(&command, quoted ? " '%s'" : " %s", argv[i]);
    }
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "date", date, "commit", td_fingerprint_commit(),
                  "suite", r->options->suite ? r->options->suite : "quick", "layouts",
                  r->options->layouts ? r->options->layouts : layouts, "data",
                  r->settings.data ? r->settings.data : "procedural", "command", command.data);
    td_text_destroy(&command);
    json_t *hosts = td_fingerprint_hosts();
    if (hosts != NULL) {
        json_object_set_new(out, "hosts", hosts);
    }
    return out;
}

static td_status open_records(run *r, int argc, char **argv) {
    char stamp[40];
    utc(stamp, sizeof stamp, "%Y%m%d-%H%M%S");
    if (r->options->out) {
        snprintf(r->directory, sizeof r->directory, "%s", r->options->out);
    } else {
        snprintf(r->directory, sizeof r->directory, "out/%s", stamp);
    }
    snprintf(r->records, sizeof r->records, "%s/records.jsonl", r->directory);
    TD_TRY(td_make_directory(r->directory));
    struct stat there;
    if (stat(r->records, &there) == 0) {
        return td_fail(TD_EUSAGE, "%s holds an earlier run; expected a new directory", r->records);
    }
    TD_TRY(td_fingerprint(r->topology, &r->machine));
    r->header = run_json(r, argc, argv);
    return td_record_open(r->records, r->machine, r->header, &r->writer);
}

/* The header is written first, so that a run that is cut has one; how long the run took is known
 * only now. */
static td_status finish_header(run *r) {
    char *data;
    size_t size;
    json_object_set_new(r->header, "seconds",
                        json_real((double)(td_now_ns() - r->start_ns) * 1e-9));
    json_object_set_new(r->header, "interrupted", json_boolean(td_interrupted()));
    TD_TRY(td_file_read(r->records, &data, &size));
    char *end = memchr(data, '\n', size);
    json_t *line = json_pack("{s:i, s:O, s:O}", "schema", TD_RECORD_SCHEMA, "machine", r->machine,
                             "run", r->header);
    char *header = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(line);
    td_text all = {0};
    if (end && header) {
        td_text_printf(&all, "%s\n", header);
        td_text_append(&all, end + 1, size - (size_t)(end + 1 - data));
    }
    td_free(data);
    td_free(header);
    td_status status = td_text_status(&all);
    if (status == TD_OK && all.size > 0) {
        status = td_file_write(r->records, all.data, all.size);
    }
    td_text_destroy(&all);
    return status;
}

/* ---- the table ---- */

static bool is_headline(const td_row *row) {
    static const char *const globs[] = {"ceiling/fma_f32/avx*",
                                        "ceiling/dot_bf16*",
                                        "step/*",
                                        "kernel/gemm_*/m1024-n1024-k1024*",
                                        "coll/allreduce/*-64MiB",
                                        "data/tfrecord*",
                                        "threads/*",
                                        "kernel/attention_f32/*",
                                        "kernel/adamw*"};
    for (size_t i = 0; i < sizeof globs / sizeof globs[0]; i++) {
        if (td_case_matches(globs[i], row->id)) {
            return true;
        }
    }
    return false;
}

enum { SHORT_TABLE = 40 };

static void print_table(const run *r) {
    int64_t measured = 0, left_out = 0;
    for (int64_t i = 0; i < r->n_rows; i++) {
        measured += r->rows[i].state == TD_OUTCOME_OK;
    }
    bool all = measured <= SHORT_TABLE;
    printf("%-52s %-14s %10s  %-9s %s\n", "case", "layout", "value", "unit", "of roof");
    for (int64_t i = 0; i < r->n_rows; i++) {
        const td_row *row = &r->rows[i];
        if (row->state != TD_OUTCOME_OK || !(all || is_headline(row))) {
            left_out += row->state == TD_OUTCOME_OK;
            continue;
        }
        char id[TD_CASE_ID + TD_CASE_PROVIDER];
        bool own = strcmp(row->provider, "tandem") == 0;
        snprintf(id, sizeof id, "%s%s%s", row->id, own ? "" : " ", own ? "" : row->provider);
        printf("%-52s %-14s %10.4g  %-9s", id, row->layout, row->value, row->unit);
        if (row->share > 0) {
            printf(" %3.0f %% %s", 100 * row->share, row->roof);
        }
        printf("\n");
    }
    if (left_out > 0) {
        printf("and %lld more in the records\n", (long long)left_out);
    }
    for (int64_t i = 0; i < r->n_rows; i++) {
        const td_row *row = &r->rows[i];
        if (row->state == TD_OUTCOME_FAILED) {
            printf("FAILED %s %s: %s\n", row->id, row->layout, row->reason);
        } else if (row->disturbed) {
            printf("disturbed %s %s: %s\n", row->id, row->layout, row->reason);
        }
    }
}

static void print_end(const run *r) {
    printf("\n%lld measured, %lld failed", (long long)r->n_ok, (long long)r->n_failed);
    printf(td_interrupted() ? ", interrupted" : "");
    printf(" in %.0f s\n", (double)(td_now_ns() - r->start_ns) * 1e-9);
    if (r->options->no_report) {
        printf("records: %s\n", r->records);
    } else {
        printf("report: %s/report.html\n", r->directory);
    }
}

static td_status conclude(run *r) {
    td_status ceilings = emit_ceilings(r), summed = td_summaries_write(&r->sums, r->writer),
              closed = td_record_close(r->writer);
    r->writer = NULL;
    if (r->status != TD_OK) {
        return td_fail(r->status, "%s", r->error);
    }
    TD_TRY(ceilings);
    TD_TRY(summed);
    TD_TRY(closed);
    TD_TRY(finish_header(r));
    td_progress_clear(&r->progress);
    if (!r->options->no_report) {
        TD_TRY(td_page_write(r->directory, NULL));
    }
    if (r->options->format) {
        TD_TRY(td_print_collectives(r->directory, r->options->format));
    } else {
        print_table(r);
        td_summaries_print(&r->sums);
        print_end(r);
    }
    if (r->n_failed > 0) {
        return td_fail(TD_ECHECK, "%lld of %lld cases failed", (long long)r->n_failed,
                       (long long)(r->n_failed + r->n_ok));
    }
    if (td_interrupted()) {
        return td_fail(TD_EINTERRUPTED, "interrupted after %lld of %lld cases",
                       (long long)(r->n_ok + r->n_failed), (long long)r->n_selected);
    }
    return r->n_ok > 0 ? TD_OK : td_fail(TD_ESKIP, "nothing could be measured here");
}

/* ---- the verb ---- */

static td_status register_items(run *r, registered *all) {
    for (int64_t i = 0; i < r->plan.n_items; i++) {
        all[i] = (registered){r, &r->plan.items[i]};
        if (td_gbench_register(r->plan.items[i].name, on_benchmark, &all[i]) != 0) {
            return td_fail(TD_ENOMEM, "register %s", r->plan.items[i].name);
        }
    }
    return TD_OK;
}

static td_status run_selected(run *r, int argc, char **argv) {
    r->marking = true;
    if (td_gbench_run() < 0 || r->n_selected == 0) {
        return td_fail(TD_EUSAGE, "--benchmark_filter matches none of %lld cases",
                       (long long)r->plan.n_items);
    }
    r->marking = false;
    TD_TRY(td_runner_outcome_create(&r->outcome));
    TD_TRY(open_records(r, argc, argv));
    r->start_ns = td_now_ns();
    r->progress = td_progress_start();
    td_interrupt_install();
    r->status = measure_ceilings(r);
    if (r->status != TD_OK) {
        snprintf(r->error, sizeof r->error, "%s", td_error());
    } else if (td_gbench_run() < 0) {
        r->status = TD_ESYS;
        snprintf(r->error, sizeof r->error, "Google Benchmark failed");
    }
    return dismiss_followers(conclude(r));
}

static td_status run_plan(run *r, int argc, char **argv) {
    size_t items = (size_t)r->plan.n_items;
    if (td_mpi_started() && td_mpi_is_follower()) {
        td_status followed = follow(r);
        td_runner_outcome_destroy(r->outcome);
        return followed;
    }
    registered *all = td_alloc(items * sizeof *all);
    r->rows = td_alloc((items * (1 + TD_COMPANIONS) + MAX_PEAKS) * sizeof *r->rows);
    r->answers = td_alloc_zero((size_t)r->plan.cases.count * sizeof *r->answers);
    td_status status = TD_OK;
    if (!all || !r->rows || !r->answers) {
        status = td_fail(TD_ENOMEM, "the rows of a run");
    } else {
        status = register_items(r, all);
    }
    if (status == TD_OK && td_gbench_lists()) {
        status = td_gbench_run() >= 0 ? TD_OK : td_fail(TD_ESYS, "Google Benchmark failed");
    } else if (status == TD_OK) {
        status = run_selected(r, argc, argv);
    }
    if (r->writer) {
        td_record_close(r->writer);
    }
    td_runner_outcome_destroy(r->outcome);
    json_decref(r->machine);
    json_decref(r->header);
    td_free(r->answers);
    td_free(r->rows);
    td_free(all);
    return status;
}

/* Under mpirun, or when nothing but ranks of MPI is asked for: then what is missing is said at
 * once, and not row by row. Before anything is refused: ranks of MPI leave together, and else
 * mpirun may end rank 0 before it has said why. */
static td_status start_mpi(const char *layouts) {
    int rank, launched, all = 1, of_mpi = 0;
    for (const char *at = layouts; at != NULL && *at != '\0'; at++) {
        all += *at == ',';
        of_mpi += strncmp(at, ":mpi", 4) == 0;
    }
    bool under = td_mpi_launched(&rank, &launched);
    TD_TRY(under || of_mpi == all ? td_mpi_start() : TD_OK);
    if (under && layouts != NULL && of_mpi == 0) {
        return td_fail(TD_EUSAGE,
                       "--layouts %s: %d ranks were started by mpirun, and each would measure the "
                       "same; expected p%dxT:mpi among the layouts",
                       layouts, launched, launched);
    }
    return TD_OK;
}

static td_status prepare(run *r, const char *glob) {
    const bench_options *options = r->options;
    td_isa isa;
    TD_TRY(parse_inject(options->inject, r));
    TD_TRY(td_isa_active(&isa));
    TD_TRY(td_kernels_select(isa));
    for (td_precision p = TD_PRECISION_F32; p < TD_PRECISION_COUNT; p++) {
        char rows[TD_ROW_CHOICE_TEXT];
        TD_TRY(td_rows_choose(p, rows));
        if (rows[0] != '\0') {
            td_note(NULL, "%s", rows);
        }
    }
    TD_TRY(start_mpi(options->layouts));
    int rank, launched;
    if (options->mpi && td_mpi_launched(&rank, &launched)) {
        return td_fail(TD_EUSAGE,
                       "--mpi %s: its libraries run beside threads and processes; under mpirun the "
                       "library's own collectives stand beside ours, expected no --mpi",
                       options->mpi);
    }
    TD_TRY(td_topology_create_here(&r->topology));
    TD_TRY(td_wait_calibrate());
    bool full = options->suite && strcmp(options->suite, "full") == 0;
    int64_t min_time_ms = options->min_time_ms ? options->min_time_ms : full ? 1000 : 150;
    /* A directory of shards that is not there yet is no reason to fail a default run. */
    struct stat there;
    r->settings.profile = options->profile;
    r->settings.mpi = options->mpi;
    if (options->select) {
        TD_TRY(td_selection_read(options->select, &r->selection));
        td_selection_use(&r->selection);
    }
    if (options->mpi) {
        char names[TD_MPI_PEERS][TD_MPI_NAME];
        int count;
        TD_TRY(td_mpi_peers(options->mpi, names, &count));
    }
    r->settings.data = options->data && stat(options->data, &there) == 0 ? options->data : NULL;
    if (options->data && !r->settings.data) {
        td_note(NULL, "%s is not there: training steps use the embedded procedural pairs",
                options->data);
    }
    r->runner = (td_runner_options){.settings = &r->settings,
                                    .topology = r->topology,
                                    .min_time_ns = min_time_ms * 1000000,
                                    .samples = options->samples,
                                    .limit_ns = INT64_C(600000000000)};
    return td_run_plan_create(glob, options->suite, options->layouts, r->topology, &r->plan);
}

td_status td_verb_bench(int argc, char **argv) {
    bench_options options = {0};
    const char *glob = NULL;
    size_t n_words = 0;
    int help = 0, n_ours = 0;
    char **ours = td_alloc(((size_t)argc + 1) * sizeof *ours);
    if (!ours) {
        return td_fail(TD_ENOMEM, "arguments");
    }
    td_status status = split_arguments(argc, argv, ours, &n_ours);
    if (status == TD_OK) {
        status = td_options_parse(options_table, N_OPTIONS, n_ours, ours, &options, &glob, 1,
                                  &n_words, &help);
    }
    td_free(ours);
    TD_TRY(status);
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &options);
        return TD_OK;
    }
    if (options.explain) {
        return td_explain(glob, options.explain_ranks ? (int)options.explain_ranks : 4, stdout);
    }
    if (options.explain_ranks) {
        return td_fail(TD_EUSAGE, "--explain-ranks is of --explain, which is not given");
    }
    run r = {.options = &options};
    status = prepare(&r, glob);
    if (status == TD_OK) {
        status = run_plan(&r, argc, argv);
    }
    td_run_plan_destroy(&r.plan);
    td_selection_use(NULL);
    td_selection_destroy(&r.selection);
    td_topology_destroy(r.topology);
    return status;
}
