/* SPDX-License-Identifier: Apache-2.0
 * Every way to compute either loss, over ranks and workers: near the float64 matrix; the same bits
 * where its order belongs to the blocks; the products, bytes and memory that it promises.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "objective_case.h"
#include "train_case.h"

static const char *const layouts[] = {"p1xt1",         "p1xt2",        "p2xt1:process",
                                      "p2xt2:thread",  "p3xt1:thread", "p4xt1:process",
                                      "p7xt1:process", "p8xt1:thread"};
enum { N_LAYOUTS = sizeof layouts / sizeof layouts[0] };

/* Blocks of 9 rows, ragged tiles, and more than one tile; no batch is a power of two. */
static const int64_t shapes[][2] = {{72, 33}, {136, 48}, {584, 16}};

/* canonical: ways of one number give the same bits as each other, on every layout. */
typedef struct way_row {
    td_loss kind;
    td_way way;
    int canonical;
    double units; /* on one rank */
} way_row;

static const way_row ways[] = {
    {TD_LOSS_SOFTMAX, TD_WAY_TILED, 1, 4},   {TD_LOSS_SOFTMAX, TD_WAY_STORED, 1, 3},
    {TD_LOSS_SOFTMAX, TD_WAY_FULL, 1, 3},    {TD_LOSS_SOFTMAX, TD_WAY_LOCAL, 0, 6},
    {TD_LOSS_SOFTMAX, TD_WAY_TWO_WAY, 2, 6}, {TD_LOSS_SIGMOID, TD_WAY_TILED, 3, 3},
    {TD_LOSS_SIGMOID, TD_WAY_RING, 3, 3},    {TD_LOSS_SIGMOID, TD_WAY_FULL, 0, 3},
};
enum { N_WAYS = sizeof ways / sizeof ways[0], N_CLASSES = 4 };

static void select_native(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
}

/* As the loss cases of the benchmark are held (bench/loss_oracle.h). */
static void check(const td_loss_case *c, const td_loss_answer *got, const td_loss_answer *want,
                  const char *layout) {
    double bound = (16 + 4 * (double)c->scale) * 0x1p-24;
    int64_t n = c->batch * c->embed;
    cr_expect(fabs(got->loss - want->loss) <= bound * want->loss, "way %d, %s: loss %.9g, not %.9g",
              c->way, layout, got->loss, want->loss);
    cr_expect(fabs(got->dscale - want->dscale) <= bound * (double)c->scale,
              "way %d, %s: dscale %.9g, not %.9g", c->way, layout, got->dscale, want->dscale);
    cr_expect(fabs(got->dbias - want->dbias) <= bound, "way %d, %s: dbias", c->way, layout);
    double images = td_loss_distance(got->d_images, want->d_images, n);
    double texts = td_loss_distance(got->d_texts, want->d_texts, n);
    cr_expect(images <= bound && texts <= bound, "way %d, %s: gradients %.3g, %.3g over %.3g",
              c->way, layout, images, texts, bound);
}

static void same(const td_loss_case *c, const td_loss_answer *one, const td_loss_answer *two,
                 const char *layout) {
    size_t bytes = (size_t)(c->batch * c->embed) * sizeof(double);
    cr_expect_eq(one->loss, two->loss, "way %d, %s: another loss", c->way, layout);
    cr_expect_eq(one->dscale, two->dscale, "way %d, %s: another dscale", c->way, layout);
    cr_expect_eq(one->dbias, two->dbias, "way %d, %s: another dbias", c->way, layout);
    cr_expect(memcmp(one->d_images, two->d_images, bytes) == 0, "way %d, %s", c->way, layout);
    cr_expect(memcmp(one->d_texts, two->d_texts, bytes) == 0, "way %d, %s", c->way, layout);
}

static void check_shape(int64_t batch, int64_t embed) {
    td_loss_answer first[N_CLASSES] = {{0}};
    for (int w = 0; w < N_WAYS; w++) {
        bool softmax = ways[w].kind == TD_LOSS_SOFTMAX;
        td_loss_case c =
            td_loss_case_make(ways[w].kind, batch, 8, embed, softmax ? 14.2857F : 10, 0.3);
        c.way = ways[w].way;
        td_loss_answer want = td_loss_twin(&c, 1, 1);
        td_loss_answer *reference = &first[ways[w].canonical];
        for (int i = 0; i < N_LAYOUTS; i++) {
            td_loss_answer got = td_loss_case_run(&c, layouts[i]);
            check(&c, &got, &want, layouts[i]);
            if (ways[w].canonical > 0 && reference->d_images != NULL) {
                same(&c, &got, reference, layouts[i]);
            } else if (ways[w].canonical > 0) {
                *reference = got;
                continue;
            }
            td_loss_answer_free(&got);
        }
        td_loss_answer_free(&want);
        td_loss_case_free(&c);
    }
    for (int i = 0; i < N_CLASSES; i++) {
        td_loss_answer_free(&first[i]);
    }
}

Test(objective, every_way_on_every_layout_ragged_blocks) {
    select_native();
    check_shape(shapes[0][0], shapes[0][1]);
}

Test(objective, every_way_on_every_layout_larger_blocks) {
    select_native();
    check_shape(shapes[1][0], shapes[1][1]);
}

Test(objective, every_way_on_every_layout_several_tiles) {
    select_native();
    check_shape(shapes[2][0], shapes[2][1]);
}

/* Features that repeat give sums of rounding errors that do not cancel: one chain of FMAs over all
 * samples would be in error by three times the bound. */
static void check_long_sums(td_loss kind) {
    enum { SAMPLES = 4096, PERIOD = 13, WIDTH = 16 };
    td_loss_case c =
        td_loss_case_make(kind, SAMPLES, 8, WIDTH, kind == TD_LOSS_SOFTMAX ? 14.2857F : 10, 0.3);
    for (int64_t i = PERIOD; i < SAMPLES; i++) {
        size_t row = WIDTH * sizeof(float);
        memcpy(c.images + i * WIDTH, c.images + i % PERIOD * WIDTH, row);
        memcpy(c.texts + i * WIDTH, c.texts + (i + i / PERIOD) % PERIOD * WIDTH, row);
    }
    td_loss_answer want = td_loss_twin(&c, 1, 1);
    for (int w = 0; w < N_WAYS; w++) {
        c.way = ways[w].way;
        if (ways[w].kind == kind) {
            td_loss_answer got = td_loss_case_run(&c, "p2xt1:thread");
            check(&c, &got, &want, "p2xt1:thread");
            td_loss_answer_free(&got);
        }
    }
    td_loss_answer_free(&want);
    td_loss_case_free(&c);
}

Test(objective, long_sums_keep_their_digits) {
    select_native();
    check_long_sums(TD_LOSS_SOFTMAX);
    check_long_sums(TD_LOSS_SIGMOID);
}

/* What one rank of `ranks` plans and counts, without memory. */
static td_objective planned(td_loss kind, td_way way, int64_t batch, int ranks) {
    td_program *program;
    td_plan segment = {0}, arena = {0};
    td_objective o = {.kind = kind, .way = way, .split = {batch, 64, 0, ranks}, .embed = 256};
    td_case_ok(td_program_create(&program));
    td_objective_plan(&o, &segment, &arena);
    td_objective_build(&o, program, &arena, 0);
    td_program_destroy(program);
    return o;
}

Test(objective, products_are_as_many_as_promised) {
    for (int w = 0; w < N_WAYS; w++) {
        for (int ranks = 1; ranks <= 4; ranks *= 2) {
            td_objective o = planned(ways[w].kind, ways[w].way, 4096, ranks);
            double unit = 4096.0 / ranks * 4096 * 256;
            bool redundant = ways[w].kind == TD_LOSS_SOFTMAX && ways[w].way == TD_WAY_FULL;
            cr_expect_eq(o.cost.products, unit * ways[w].units * (redundant ? ranks : 1),
                         "way %d of %d", ways[w].way, ways[w].kind);
        }
    }
}

/* Floats through the links of one rank of 4, in units of all texts (B E): a gather or a scatter
 * moves 3/4, the ring both features and gradients of every block once, the last features not. */
Test(objective, bytes_between_ranks_are_as_many_as_promised) {
    double all = 4096.0 * 256 * 4, sums = 3.0 / 4 * 64 * sizeof(td_block_sums);
    td_objective ring = planned(TD_LOSS_SIGMOID, TD_WAY_RING, 4096, 4);
    cr_expect_eq(ring.cost.exchanged_bytes, (2 - 1.0 / 64) * all + sums);
    td_objective sigmoid = planned(TD_LOSS_SIGMOID, TD_WAY_FULL, 4096, 4);
    cr_expect_eq(sigmoid.cost.exchanged_bytes, 2 * 3.0 / 4 * all + sums);
    td_objective local = planned(TD_LOSS_SOFTMAX, TD_WAY_LOCAL, 4096, 4);
    cr_expect_eq(local.cost.exchanged_bytes, 4 * 3.0 / 4 * all + sums);
    td_objective full = planned(TD_LOSS_SOFTMAX, TD_WAY_FULL, 4096, 4);
    cr_expect_eq(full.cost.exchanged_bytes, 2 * 3.0 / 4 * all + sums);
    /* Own 16 image blocks load and store the gradients of 48 text blocks each. */
    td_objective fused = planned(TD_LOSS_SIGMOID, TD_WAY_TILED, 4096, 4);
    cr_expect_eq(fused.cost.exchanged_bytes, 3.0 / 4 * all * (1 + 2 * 16) + sums);
    td_objective alone = planned(TD_LOSS_SOFTMAX, TD_WAY_TILED, 4096, 1);
    cr_expect_eq(alone.cost.exchanged_bytes, 0);
}

/* Tiled ways keep 32 bytes a row and what the number of blocks takes; stored ones the matrix. */
Test(objective, memory_of_tiled_ways_does_not_grow_with_the_square) {
    const td_loss kinds[] = {TD_LOSS_SOFTMAX, TD_LOSS_SIGMOID};
    for (int i = 0; i < 2; i++) {
        int64_t small = planned(kinds[i], TD_WAY_TILED, 1024, 1).cost.loss_bytes;
        int64_t large = planned(kinds[i], TD_WAY_TILED, 65536, 1).cost.loss_bytes;
        cr_expect_leq(large - small, (65536 - 1024) * 32, "%lld then %lld", (long long)small,
                      (long long)large);
    }
    td_objective stored = planned(TD_LOSS_SOFTMAX, TD_WAY_STORED, 16384, 1);
    cr_expect_geq(stored.cost.loss_bytes, INT64_C(16384) * 16384 * 4);
    td_objective ring = planned(TD_LOSS_SIGMOID, TD_WAY_RING, 65536, 8);
    td_objective tiled = planned(TD_LOSS_SIGMOID, TD_WAY_TILED, 65536, 8);
    cr_expect_lt(ring.cost.feature_bytes + ring.cost.loss_bytes, tiled.cost.feature_bytes / 2);
}

Test(objective, scores_that_take_too_much_are_refused) {
    td_objective o = {.kind = TD_LOSS_SOFTMAX, .way = TD_WAY_FULL, .split = {32768, 64, 0, 4}};
    cr_assert_eq(td_objective_check(&o), TD_ESKIP);
    cr_assert(strstr(td_error(), "4.29 GB of scores for a batch of 32768") != NULL, "%s",
              td_error());
    o.way = TD_WAY_STORED;
    td_case_ok(td_objective_check(&o)); /* a quarter for each rank */
    o.split.batch = 65536;
    cr_assert_eq(td_objective_check(&o), TD_ESKIP);
    o.way = TD_WAY_TILED;
    td_case_ok(td_objective_check(&o));
    o.way = TD_WAY_RING;
    cr_assert_eq(td_objective_check(&o), TD_EUSAGE);
}

/* Strips for small blocks, scores kept where they take little, tiles beyond. */
Test(objective, the_best_way_follows_from_the_shape) {
    cr_expect_eq(planned(TD_LOSS_SOFTMAX, TD_WAY_BEST, 64, 1).way, TD_WAY_TWO_WAY);
    cr_expect_eq(planned(TD_LOSS_SOFTMAX, TD_WAY_BEST, 1024, 4).way, TD_WAY_STORED);
    cr_expect_eq(planned(TD_LOSS_SOFTMAX, TD_WAY_BEST, 8192, 1).way, TD_WAY_TILED);
    cr_expect_eq(planned(TD_LOSS_SIGMOID, TD_WAY_BEST, 64, 1).way, TD_WAY_TILED);
}

/* Blocks of 16 rows: a step that takes its loss by pairs, and keeps scores. */
Test(objective, training_by_pairs_has_one_answer) {
    enum { STEPS = 3 };
    static const char *const others[] = {"p1xt3", "p2xt1:process", "p4xt2:thread", "p8xt1:process"};
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    td_case_result one = {0}, other;
    options.batch = 128;
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    td_case_ok(td_case_run(&options, "p1xt1", STEPS, &one));
    select_native();
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        other = (td_case_result){0};
        td_case_ok(td_case_run(&options, others[i], STEPS, &other));
        cr_expect_str_eq(other.sha256, one.sha256, "%s: another answer", others[i]);
        cr_expect_arr_eq(other.loss, one.loss, STEPS * sizeof(double), "%s", others[i]);
    }
    options.accum = 4;
    td_case_ok(td_case_run(&options, "p2xt1:process", STEPS, &other));
    cr_expect_str_eq(other.sha256, one.sha256, "micro-batches: another answer");
    cr_expect_eq(other.allocations_in_steps, 0);
}
