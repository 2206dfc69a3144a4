/* SPDX-License-Identifier: Apache-2.0
 * ZeRO-1: parts of the optimizer's state, whole answers.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "kernels/tiles.h"
#include "models/checkpoint.h"
#include "train_case.h"

enum { STEPS = 4, HALF = 2 };

static const char *const layouts[] = {"p1xt2",         "p2xt1:process", "p2xt2:thread",
                                      "p4xt1:process", "p4xt2:thread",  "p8xt1:thread"};
enum { N_LAYOUTS = sizeof layouts / sizeof layouts[0] };

static void select_kernels(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
}

/* Parts are whole tiles, cover everything once, and differ by one tile at most. */
Test(zero, parts_cover_every_element_once) {
    static const int64_t sizes[][2] = {
        {32, 16}, {16384, 16368}, {16400, 16384}, {16400, 16368}, {1000000, 999968}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (int ranks = 2; ranks <= 9; ranks++) {
            int64_t next = 0, summed = 0, tile = 0, most = 0;
            for (int rank = 0; rank < ranks; rank++) {
                td_shard shard = td_shard_make(true, rank, ranks, sizes[s][0], sizes[s][1]);
                cr_assert_eq(shard.first, next < sizes[s][0] ? next : shard.first);
                cr_assert_eq(shard.tile, tile);
                cr_assert(shard.n == 0 || shard.first == tile * TD_TILE_FLAT);
                cr_assert_eq(shard.n, shard.weights[rank]);
                cr_assert_leq(shard.n, shard.most);
                cr_assert_geq(shard.sums[rank], 0);
                next += shard.n;
                summed += shard.sums[rank];
                tile += shard.tiles[rank];
                most = shard.most;
            }
            cr_assert_eq(next, sizes[s][0]);
            cr_assert_eq(summed, sizes[s][1]);
            cr_assert_leq(most, (tile / ranks + 1) * TD_TILE_FLAT);
        }
    }
}

/* Clipping, a moving average, micro-batches and a frozen tower pass over the parts too. */
static td_train_options option_set(int i) {
    td_train_options options =
        td_case_options(i == 1 ? "mu-siglip" : "mu", i == 1 ? TD_LOSS_SIGMOID : TD_LOSS_SOFTMAX);
    options.optimizer.grad_clip = i == 2 ? 0 : 1;
    options.ema = i == 2 ? 0.9 : 0;
    options.accum = i == 0 ? 1 : 2;
    options.freeze_image = i == 3;
    return options;
}

Test(zero, every_layout_gives_the_weights_of_the_plain_step) {
    select_kernels();
    for (int set = 0; set < 4; set++) {
        td_train_options options = option_set(set);
        td_case_result plain = {0};
        td_case_ok(td_case_run(&options, "p1xt1", STEPS, &plain));
        options.zero = true;
        for (int i = 0; i < N_LAYOUTS; i++) {
            td_layout layout;
            td_case_ok(td_layout_parse(layouts[i], &layout));
            if (options.accum > 1 && layout.ranks > 4) {
                continue; /* a rank has one logical block, which is not cut in two */
            }
            td_case_result result = {0};
            td_case_ok(td_case_run(&options, layouts[i], STEPS, &result));
            cr_expect_str_eq(result.sha256, plain.sha256, "set %d, %s: another answer", set,
                             layouts[i]);
            cr_expect_arr_eq(result.loss, plain.loss, STEPS * sizeof(double));
            if (strstr(layouts[i], "process") != NULL) { /* threads count each other's */
                cr_expect_eq(result.allocations_in_steps, 0);
            }
        }
    }
}

/* When gradients of ranks are added up does not show: behind the backward pass, or after it. */
Test(zero, sums_after_the_backward_pass_give_the_same_weights) {
    select_kernels();
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    td_case_result behind = {0}, later = {0};
    td_case_ok(td_case_run(&options, "p2xt2:thread", STEPS, &behind));
    options.sum_after = true;
    td_case_ok(td_case_run(&options, "p2xt2:thread", STEPS, &later));
    cr_expect_str_eq(later.sha256, behind.sha256);
    cr_expect_arr_eq(later.loss, behind.loss, STEPS * sizeof(double));
}

/* The moments of p ranks are together those of one. */
Test(zero, a_rank_keeps_its_part_of_the_moments) {
    select_kernels();
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    td_train_needs plain, parts;
    td_case_ok(td_train_measure(&options, 4, &plain));
    options.zero = true;
    td_case_ok(td_train_measure(&options, 4, &parts));
    int64_t all = plain.image.moments + plain.text.moments;
    int64_t own = parts.image.moments + parts.text.moments;
    cr_expect(own >= all / 4 && own <= all / 4 + 2 * TD_TILE_FLAT * 4, "%lld of %lld bytes",
              (long long)own, (long long)all);
    int64_t saved =
        plain.segment_bytes + plain.arena_bytes - parts.segment_bytes - parts.arena_bytes;
    cr_expect(saved >= all - own - 4096, "%lld bytes less", (long long)saved);
    cr_expect_geq(parts.other_bytes, 0);
}

typedef struct part_job {
    const td_train_options *options;
    const char *path;
    int64_t first, last;
    bool load, store;
} part_job;

static td_status run_part(td_rank *rank, td_train *train, const part_job *job) {
    const td_train_options *o = job->options;
    int64_t row = td_split_first_row(td_train_split(train), rank->rank);
    if (job->load) {
        TD_TRY(td_checkpoint_resume(job->path, train));
    }
    for (int64_t step = job->first; step < job->last; step++) {
        td_case_batch batch = td_case_batch_make(o, (uint64_t)step);
        td_step_result done;
        td_status status = td_train_step(
            train, batch.images + row * 3 * o->config.image_size * o->config.image_size,
            batch.tokens + row * o->config.context, &done);
        td_case_batch_free(&batch);
        TD_TRY(status);
    }
    if (job->store && rank->rank == 0) {
        TD_TRY(td_checkpoint_save(job->path, train, NULL));
    }
    TD_TRY(td_train_sha256(train, (char *)rank->segment));
    return td_rank_barrier(rank);
}

static td_status part_rank(td_rank *rank, void *arg) {
    const part_job *job = arg;
    td_train *train;
    TD_TRY(td_train_create(job->options, rank, &train));
    td_status status = run_part(rank, train, job);
    td_train_destroy(train);
    return status;
}

static td_status run_job(const part_job *job, const char *layout, char sha256[TD_SHA256_HEX]) {
    td_train_needs needs;
    td_group_options group = {.deadline_ns = INT64_C(20000000000)};
    TD_TRY(td_layout_parse(layout, &group.layout));
    group.layout.over = true;
    TD_TRY(td_train_measure(job->options, group.layout.ranks, &needs));
    group.segment_bytes = (size_t)needs.segment_bytes;
    part_job copy = *job;
    return td_group_run_result(&group, part_rank, &copy, sha256, TD_SHA256_HEX);
}

/* Saved by four ranks that have a part each, read by one that has all, and the other way round. */
Test(zero, a_saved_run_goes_on_with_any_ranks) {
    select_kernels();
    char path[64], whole[TD_SHA256_HEX], half[TD_SHA256_HEX], rest[TD_SHA256_HEX];
    snprintf(path, sizeof path, "/tmp/tandem_zero_%d.safetensors", (int)getpid());
    for (int way = 0; way < 2; way++) {
        td_train_options plain = td_case_options("mu", TD_LOSS_SOFTMAX), zero = plain;
        zero.zero = true;
        part_job all = {&plain, path, 0, 2 * HALF, false, false};
        part_job save = {way == 0 ? &zero : &plain, path, 0, HALF, false, true};
        part_job load = {way == 0 ? &plain : &zero, path, HALF, 2 * HALF, true, false};
        td_case_ok(run_job(&all, "p1xt1", whole));
        td_case_ok(run_job(&save, way == 0 ? "p4xt1:process" : "p1xt1", half));
        td_case_ok(run_job(&load, way == 0 ? "p1xt2" : "p2xt1:process", rest));
        cr_expect_str_eq(rest, whole, "way %d", way);
        cr_expect_str_neq(half, whole);
    }
    unlink(path);
}
