/* SPDX-License-Identifier: Apache-2.0
 * A step allocates nothing, touches no new page and makes no system call but futex, once three
 * steps have been done; nor does a loader whose set is in memory. Everything is watched while steps
 * run, on all threads, and the watch is shown to see each kind.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/pairs.h"
#include "step_watch.h"
#include "train_case.h"

enum { WARM = 3, WATCHED = 6, PAIRS = 32, MESSAGE = 512 };

typedef struct hygiene_case {
    const char *what;
    td_train_options options;
    const char *layout;
    bool loader;
} hygiene_case;

/* Batches that were made before: captions of many lengths, the longest among the first ones. A
 * later caption that is longer than any before may touch memory that was planned for it. */
typedef struct source {
    td_case_batch batches[WARM];
    td_pairs *pairs;
    td_tokenizer *tokenizer;
    td_loader *loader;
    int64_t first_row;
} source;

static td_status open_source(const hygiene_case *c, const td_rank *rank, source *out) {
    const td_train_options *o = &c->options;
    td_split split = {
        .batch = o->batch, .blocks = o->blocks, .rank = rank->rank, .ranks = rank->count};
    out->first_row = td_split_first_row(&split, rank->rank);
    for (int i = 0; i < WARM; i++) {
        out->batches[i] = td_case_batch_make(o, (uint64_t)i);
    }
    if (!c->loader) {
        return TD_OK;
    }
    TD_TRY(td_pairs_open(&(td_pairs_options){.n_synthetic = PAIRS, .seed = 1}, &out->pairs));
    TD_TRY(td_tokenizer_load(NULL, &out->tokenizer));
    return td_loader_create(&(td_loader_options){.pairs = out->pairs,
                                                 .tokenizer = out->tokenizer,
                                                 .batch = o->batch,
                                                 .first_row = out->first_row,
                                                 .rows = td_split_rows(&split, rank->rank),
                                                 .image_size = o->config.image_size,
                                                 .context = o->config.context,
                                                 .seed = 1,
                                                 .prefetch = 2,
                                                 .pu = -1,
                                                 .cache_bytes = INT64_C(64) << 20},
                            &out->loader);
}

static td_status one_step(td_train *train, source *from, int64_t step) {
    const td_model_config *config = &td_train_get_options(train)->config;
    const td_case_batch *batch = &from->batches[step % WARM];
    const float *images =
        batch->images + from->first_row * 3 * config->image_size * config->image_size;
    const int32_t *tokens = batch->tokens + from->first_row * config->context;
    td_step_result result;
    int64_t wait_ns;
    if (from->loader != NULL) {
        TD_TRY(td_loader_next(from->loader, &images, &tokens, &wait_ns));
    }
    return td_train_step(train, images, tokens, &result);
}

static td_status watch_steps(td_rank *rank, void *arg) {
    const hygiene_case *c = arg;
    source from = {0};
    td_train *train;
    watch_counts counts;
    /* A loader is promised to rest once its whole set is decoded. Ranks meet other halves of the
     * set in every epoch: after so many, each has met all of it (but for one time in 10^9). */
    int warm = c->loader ? (rank->count == 1 ? 3 * WARM : 80) : WARM;
    TD_TRY(open_source(c, rank, &from));
    TD_TRY(td_train_create(&c->options, rank, &train));
    for (int step = 0; step < warm; step++) {
        TD_TRY(one_step(train, &from, step));
    }
    TD_TRY(step_watch_start());
    for (int step = 0; step < WATCHED; step++) {
        TD_TRY(one_step(train, &from, step));
    }
    step_watch_stop(&counts);
    if (counts.allocations + counts.minor_faults + counts.syscalls != 0 ||
        counts.resident_growth_bytes > 0) {
        return td_fail(TD_ECHECK,
                       "rank %d, %d steps: %lld calls of malloc and its kin, %lld minor faults, "
                       "%lld system calls (the first is number %d), resident set grew by %lld",
                       rank->rank, WATCHED, (long long)counts.allocations,
                       (long long)counts.minor_faults, (long long)counts.syscalls,
                       counts.first_syscall, (long long)counts.resident_growth_bytes);
    }
    return TD_OK;
}

static td_status run_steps(const void *arg) {
    const hygiene_case *c = arg;
    td_train_needs needs;
    td_group_options group = {.deadline_ns = INT64_C(60000000000)};
    TD_TRY(td_layout_parse(c->layout, &group.layout));
    TD_TRY(td_train_measure(&c->options, group.layout.ranks, &needs));
    group.segment_bytes = (size_t)needs.segment_bytes;
    hygiene_case copy = *c;
    return td_group_run(&group, watch_steps, &copy);
}

/* Each kind of thing that a step must not do, done once. */
static td_status run_offences(const void *arg) {
    (void)arg;
    watch_counts counts;
    unsigned char *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TD_TRY(step_watch_start());
    td_free(td_alloc(100));
    page[0] = 1;
    syscall(SYS_getuid);
    step_watch_stop(&counts);
    bool seen = counts.allocations == 2 && counts.minor_faults >= 1 && counts.syscalls == 1 &&
                counts.first_syscall == SYS_getuid && counts.resident_growth_bytes >= 4096;
    return seen ? TD_OK
                : td_fail(TD_ECHECK, "seen: %lld allocations, %lld faults, %lld system calls, %lld",
                          (long long)counts.allocations, (long long)counts.minor_faults,
                          (long long)counts.syscalls, (long long)counts.resident_growth_bytes);
}

/* In a child, which the filter does not outlive. */
static td_status in_child(td_status (*fn)(const void *), const void *arg, char message[MESSAGE]) {
    struct {
        td_status status;
        char message[MESSAGE];
    } *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(shared != MAP_FAILED);
    shared->status = TD_EPEER;
    snprintf(shared->message, MESSAGE, "it died");
    pid_t pid = fork();
    if (pid == 0) {
        alarm(500); /* a child that hangs ends */
        td_status status = fn(arg);
        snprintf(shared->message, MESSAGE, "%s", status == TD_OK ? "" : td_error());
        shared->status = status;
        _exit(0);
    }
    int how;
    cr_assert(pid > 0 && waitpid(pid, &how, 0) == pid);
    td_status status = shared->status;
    memcpy(message, shared->message, MESSAGE);
    munmap(shared, sizeof *shared);
    return status;
}

static void expect_clean(const hygiene_case *c) {
    char message[MESSAGE];
    td_status status = in_child(run_steps, c, message);
    if (status == TD_ESKIP) {
        cr_skip_test("%s", message);
    }
    cr_expect_eq(status, TD_OK, "%s on %s: %s", c->what, c->layout, message);
}

static void select_native(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
}

TestSuite(hygiene, .init = select_native, .timeout = 600);

/* As many workers as there are CPUs, or two ranks where there are two. */
static const char *layout_of(int i) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    static const char *const layouts[] = {"p1xt1", "p1xt2", "p2xt1:process"};
    return layouts[cpus < 2 ? 0 : i];
}

Test(hygiene, the_watch_sees_each_offence) {
    char message[MESSAGE];
    td_status status = in_child(run_offences, NULL, message);
    if (status == TD_ESKIP) {
        cr_skip_test("%s", message);
    }
    cr_assert_eq(status, TD_OK, "%s", message);
}

Test(hygiene, clip) {
    for (int i = 0; i < 3; i++) {
        expect_clean(&(hygiene_case){"softmax", td_case_options("mu", TD_LOSS_SOFTMAX),
                                     layout_of(i), false});
    }
    expect_clean(
        &(hygiene_case){"softmax", td_case_options("ti-32", TD_LOSS_SOFTMAX), layout_of(1), false});
}

Test(hygiene, siglip) {
    for (int i = 0; i < 3; i++) {
        expect_clean(&(hygiene_case){"sigmoid", td_case_options("mu-siglip", TD_LOSS_SIGMOID),
                                     layout_of(i), false});
    }
}

/* Everything at once: micro-batches, dropped patches, recomputation, moving average, bf16. */
Test(hygiene, recipes) {
    td_train_options options = td_case_options("mu", TD_LOSS_SIGMOID);
    options.accum = 4;
    options.patch_mask = 0.5;
    options.recompute = true;
    options.ema = 0.99;
    options.precision = TD_PRECISION_BF16;
    expect_clean(&(hygiene_case){"all options", options, layout_of(1), false});
    options = td_case_options("mu", TD_LOSS_SOFTMAX);
    options.freeze_image = true;
    expect_clean(&(hygiene_case){"a frozen tower", options, layout_of(1), false});
}

Test(hygiene, with_a_loader) {
    expect_clean(&(hygiene_case){"softmax with a loader", td_case_options("mu", TD_LOSS_SOFTMAX),
                                 layout_of(1), true});
    expect_clean(&(hygiene_case){"sigmoid with a loader",
                                 td_case_options("mu-siglip", TD_LOSS_SIGMOID), layout_of(2),
                                 true});
}

/* Whether this machine gives huge pages to those who ask: a plain arena, touched. */
static double huge_share_of_an_arena(void) {
    td_arena arena;
    td_pages pages = {0};
    td_case_ok(td_arena_create(64 << 20, &arena));
    memset(arena.base, 1, arena.bytes);
    td_case_ok(td_pages_add(arena.base, arena.bytes, &pages));
    td_arena_destroy(&arena);
    return pages.resident_bytes > 0 ? (double)pages.huge_bytes / (double)pages.resident_bytes : 0;
}

static td_status pages_of_training(td_train *train, void *arg) {
    td_case_batch batch = td_case_batch_make(td_train_get_options(train), 1);
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    td_case_batch_free(&batch);
    return status == TD_OK ? td_train_pages(train, arg) : status;
}

Test(hygiene, memory_of_training_is_in_huge_pages) {
    td_train_options options = td_case_options("vit-s-32-alt", TD_LOSS_SOFTMAX);
    td_pages pages = {0};
    double given = huge_share_of_an_arena();
    if (given < 0.95) {
        cr_skip_test("this machine gives %.0f %% of an arena huge pages", 100 * given);
    }
    td_case_ok(td_case_inside(&options, 1, pages_of_training, &pages));
    /* Weights, gradients and moments of 43 million parameters, at least. */
    cr_assert_gt(pages.resident_bytes, INT64_C(43) * 16000000);
    cr_assert_geq((double)pages.huge_bytes, 0.95 * (double)pages.resident_bytes);
}

/* The instrument: small pages count as small. */
Test(hygiene, small_pages_are_seen) {
    enum { BYTES = 16 << 20 };
    td_pages pages = {0};
    unsigned char *block =
        mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(block != MAP_FAILED);
    madvise(block, BYTES, MADV_NOHUGEPAGE);
    memset(block, 1, BYTES / 2);
    td_case_ok(td_pages_add(block, BYTES, &pages));
    cr_assert_eq(pages.resident_bytes, BYTES / 2);
    cr_assert_eq(pages.huge_bytes, 0);
    munmap(block, BYTES);
}
