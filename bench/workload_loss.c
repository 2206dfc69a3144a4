/* SPDX-License-Identifier: Apache-2.0
 * The contrastive losses alone, in every way they can be computed, from normalised features to
 * gradients. Proof: loss and gradients against f64 over the whole matrix; ways whose order no
 * layout changes have the same SHA-256 of all gradients on every one.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "bench/case.h"
#include "bench/loss_oracle.h"
#include "models/objective.h"

enum { PARAM_WAY, PARAM_BATCH, PARAM_EMBED, LEAST_BLOCKS = 16, BLOCK_ROWS = 256 };

/* canonical: the order of every sum is fixed by the blocks. most_batch: of a quadratic way, the
 * first size that is refused, which shows that it is. */
typedef struct way_row {
    td_loss loss;
    td_way way;
    const char *name;
    bool canonical;
    int64_t most_batch;
} way_row;

static const way_row ways[] = {
    {TD_LOSS_SOFTMAX, TD_WAY_FULL, "full", true, 32768},
    {TD_LOSS_SOFTMAX, TD_WAY_LOCAL, "local", false, 32768},
    {TD_LOSS_SOFTMAX, TD_WAY_TWO_WAY, "two-way", true, 16384},
    {TD_LOSS_SOFTMAX, TD_WAY_STORED, "joint-stored", true, 32768},
    {TD_LOSS_SOFTMAX, TD_WAY_TILED, "joint-tiled", true, 65536},
    {TD_LOSS_SIGMOID, TD_WAY_FULL, "full", false, 32768},
    {TD_LOSS_SIGMOID, TD_WAY_RING, "ring", true, 65536},
    {TD_LOSS_SIGMOID, TD_WAY_TILED, "fused-tiled", true, 65536},
};

static const struct {
    int64_t batch, embed;
    double seconds;
} sizes[] = {{1024, 512, 1}, {4096, 512, 5}, {16384, 512, 60}, {32768, 512, 1}, {65536, 256, 250}};

typedef struct loss_state {
    td_objective objective;
    td_program *program;
    td_arena arena;
    td_comm *comm;
    td_loss_oracle oracle;
    float scale, bias;
    int64_t staging_bytes, resident_before;
} loss_state;

static td_status list_losses(const td_workload *self, td_case_list *list) {
    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            /* 32768 is there for the refusal of ways that keep scores. */
            bool refused = ways[w].most_batch == 32768;
            if (sizes[i].batch > ways[w].most_batch || (sizes[i].batch == 32768 && !refused)) {
                continue;
            }
            td_case *added =
                td_case_add(list, self, "loss/%s/%s/b%lld-e%lld",
                            ways[w].loss == TD_LOSS_SOFTMAX ? "softmax" : "sigmoid", ways[w].name,
                            (long long)sizes[i].batch, (long long)sizes[i].embed);
            added->param[PARAM_WAY] = (int64_t)w;
            added->param[PARAM_BATCH] = sizes[i].batch;
            added->param[PARAM_EMBED] = sizes[i].embed;
            added->quick = i == 0;
            added->seconds = sizes[i].seconds;
        }
    }
    return TD_OK;
}

/* Blocks of 256 rows, so that a pair uses what it has in its caches more than once: pairs of 64
 * took 1.5 times as long at 4096. But enough of them for many workers. */
static int64_t blocks_of(int64_t batch) {
    int64_t blocks = TD_MAX_BLOCKS;
    while (blocks > LEAST_BLOCKS && batch / blocks < BLOCK_ROWS) {
        blocks /= 2;
    }
    return blocks;
}

/* The largest batch is for all that a machine has: one worker would take minutes a sample. */
static bool fits_loss(const td_case *subject, const td_layout *layout) {
    int64_t batch = subject->param[PARAM_BATCH];
    if (ways[subject->param[PARAM_WAY]].way == TD_WAY_RING && layout->ranks < 2) {
        return false;
    }
    return layout->ranks <= blocks_of(batch) &&
           (batch < 65536 || layout->ranks * layout->workers > 1);
}

/* Plans and builds; with plans of base NULL, measures. */
static void build(loss_state *s, td_plan *segment, td_plan *arena) {
    td_objective *o = &s->objective;
    if (o->split.ranks > 1) {
        int64_t rows = td_split_most_blocks(&o->split) * (o->split.batch / o->split.blocks);
        s->staging_bytes = td_comm_bytes(o->split.ranks, o->split.ranks * rows * o->embed, TD_F32);
        td_plan_take(segment, (size_t)s->staging_bytes);
    }
    td_program_clear(s->program);
    td_objective_plan(o, segment, arena);
    td_objective_build(o, s->program, arena, 0);
}

static td_status begin(loss_state *s, const td_case *subject, int rank, int ranks) {
    int64_t batch = subject->param[PARAM_BATCH];
    const way_row *row = &ways[subject->param[PARAM_WAY]];
    s->scale = row->loss == TD_LOSS_SOFTMAX ? 1 / 0.07F : 10;
    s->bias = row->loss == TD_LOSS_SOFTMAX ? 0 : -10;
    s->objective = (td_objective){
        .kind = row->loss,
        .way = row->way,
        .split = {.batch = batch, .blocks = blocks_of(batch), .rank = rank, .ranks = ranks},
        .embed = subject->param[PARAM_EMBED],
        .scale = &s->scale,
        .bias = &s->bias};
    TD_TRY(td_objective_check(&s->objective));
    return td_program_create(&s->program);
}

static td_status segment_loss(const td_case *subject, const td_layout *layout, int64_t *bytes) {
    loss_state s = {0};
    td_plan segment = {0}, arena = {0};
    TD_TRY(begin(&s, subject, 0, layout->ranks));
    build(&s, &segment, &arena);
    td_program_destroy(s.program);
    *bytes = (int64_t)segment.used_bytes;
    return TD_OK;
}

/* Bytes of this process in memory; 0 when the system does not say. */
static int64_t resident_bytes(void) {
    long long total, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        resident = fscanf(file, "%lld %lld", &total, &resident) == 2 ? resident : 0;
        fclose(file);
    }
    return resident * sysconf(_SC_PAGESIZE);
}

static void fill_features(loss_state *s) {
    td_objective *o = &s->objective;
    int64_t first = td_split_first_row(&o->split, o->split.rank);
    size_t row = (size_t)o->embed * sizeof(float);
    for (int64_t i = 0; i < td_split_rows(&o->split, o->split.rank); i++) {
        memcpy(o->image.own + i * o->embed, td_loss_oracle_image(&s->oracle, first + i), row);
        memcpy(o->text.own + i * o->embed, td_loss_oracle_text(&s->oracle, first + i), row);
        /* Present before memory is measured. */
        memset(o->image.d_own + i * o->embed, 0, row);
        memset(o->text.d_own + i * o->embed, 0, row);
    }
}

static td_status setup_loss(td_bench *bench) {
    loss_state *s = bench->state = td_alloc_zero(sizeof *s);
    td_rank *rank = bench->rank;
    if (!s) {
        return td_fail(TD_ENOMEM, "a loss case");
    }
    td_plan segment = {0}, arena = {0};
    TD_TRY(begin(s, bench->subject, rank->rank, rank->count));
    td_objective *o = &s->objective;
    build(s, &segment, &arena);
    size_t needed = segment.used_bytes;
    TD_TRY(td_loss_oracle_create(o->kind, o->split.batch, o->embed, s->scale, s->bias, &s->oracle));
    o->rank = rank;
    if (rank->count > 1) {
        TD_TRY(td_comm_create(rank, rank->segment, s->staging_bytes, &s->comm));
        o->comm = s->comm;
    }
    TD_TRY(td_arena_create(arena.used_bytes, &s->arena));
    segment = (td_plan){.base = rank->segment};
    arena = (td_plan){.base = s->arena.base};
    build(s, &segment, &arena);
    TD_ASSERT(segment.used_bytes == needed && needed <= rank->segment_bytes);
    fill_features(s);
    s->resident_before = resident_bytes();
    bench->scratch_bytes = td_program_scratch_bytes(s->program);
    return td_program_finish(s->program, rank->workers);
}

static td_status run_loss(td_bench *bench) {
    loss_state *s = bench->state;
    return td_program_run(s->program, bench->team);
}

/* Of all gradients, rank after rank, and the sums: of one answer if that has no order of its own.
 */
static td_status hash_answer(td_bench *bench, char hex[TD_SHA256_HEX]) {
    loss_state *s = bench->state;
    const td_objective *o = &s->objective;
    td_block_sums total = td_objective_total(o);
    td_sha256 *sha;
    TD_TRY(td_sha256_create(&sha));
    float *const gradients[] = {o->image.d_own, o->text.d_own};
    for (int i = 0; i < 2; i++) {
        for (int r = 0; r < o->split.ranks; r++) {
            size_t bytes = (size_t)(td_split_rows(&o->split, r) * o->embed) * sizeof(float);
            td_split there = o->split;
            there.rank = r;
            /* FULL keeps gradients of all rows, own ones among them. */
            int64_t shift = o->way == TD_WAY_FULL ? td_split_first_row(&there, r) -
                                                        td_split_first_row(&o->split, o->split.rank)
                                                  : 0;
            td_sha256_add(sha, td_rank_peer(bench->rank, r, gradients[i] + shift * o->embed),
                          bytes);
        }
    }
    td_sha256_add(sha, &total, sizeof total);
    td_sha256_finish(sha, hex);
    return TD_OK;
}

static td_status check_one(const char *what, double error, double bound) {
    if (!(error <= bound)) {
        return td_fail(TD_ECHECK, "%s is in error by %.3g of its size; expected at most %.3g", what,
                       error, bound);
    }
    return TD_OK;
}

static double gap(double got, double want, double size) {
    return got > want ? (got - want) / size : (want - got) / size;
}

static td_status check_answer(const loss_state *s) {
    const td_objective *o = &s->objective;
    const td_loss_oracle *want = &s->oracle;
    td_block_sums got = td_objective_total(o);
    double bound = td_loss_oracle_bound(want);
    int64_t first = td_split_first_row(&o->split, o->split.rank);
    int64_t rows = td_split_rows(&o->split, o->split.rank);
    TD_TRY(check_one("the loss", gap(got.loss, want->loss, want->loss), bound));
    TD_TRY(check_one("the gradient of logit_scale", gap(got.dscale, want->dscale, want->scale),
                     bound));
    TD_TRY(check_one("the gradient of the bias", gap(got.dbias, want->dbias, 1), bound));
    TD_TRY(check_one("the images' gradient",
                     td_loss_oracle_error(want, true, first, rows, o->image.d_own), bound));
    return check_one("the texts' gradient",
                     td_loss_oracle_error(want, false, first, rows, o->text.d_own), bound);
}

static td_status verify_loss(td_bench *bench) {
    loss_state *s = bench->state;
    td_outcome *out = bench->outcome;
    bool canonical = ways[bench->subject->param[PARAM_WAY]].canonical;
    TD_TRY(run_loss(bench));
    int64_t grown = resident_bytes() - s->resident_before;
    if (bench->rank->count > 1) {
        TD_TRY(td_rank_barrier(bench->rank));
    } else {
        td_outcome_number(out, "resident_growth_bytes", (double)grown);
    }
    if (bench->rank->rank == 0) {
        snprintf(out->answer_class, sizeof out->answer_class, canonical ? "one" : "p%d",
                 bench->rank->count);
        snprintf(out->method, sizeof out->method, "f64 matrix, %.1e relative%s",
                 td_loss_oracle_bound(&s->oracle), canonical ? "; sha256 over layouts" : "");
        TD_TRY(hash_answer(bench, out->sha256));
        if (canonical && bench->expected_sha256[0] &&
            strcmp(out->sha256, bench->expected_sha256) != 0) {
            return td_fail(TD_ECHECK, "gradients are %.16s..., on an earlier layout %.16s...",
                           out->sha256, bench->expected_sha256);
        }
    }
    return check_answer(s);
}

static void cost_loss(const td_bench *bench, td_cost *out) {
    const loss_state *s = bench->state;
    const td_objective *o = &s->objective;
    td_program_cost total;
    td_program_total_cost(s->program, &total);
    double batch = (double)o->split.batch, share = batch * batch * (double)o->embed;
    double rows = (double)td_split_rows(&o->split, o->split.rank);
    *out = (td_cost){.value = TD_VALUE_ITEMS,
                     .items = batch,
                     .unit = "pairs/s",
                     .flops = total.flops * batch / rows,
                     .nominal = 6 * share};
    td_isa isa;
    out->isa = td_isa_active(&isa) == TD_OK ? (int)isa : 0;
    td_outcome_number(bench->outcome, "gemm_units", o->cost.products * batch / rows / share);
    td_outcome_number(bench->outcome, "loss_bytes",
                      (double)(o->cost.loss_bytes + bench->scratch_bytes * bench->rank->workers));
    td_outcome_number(bench->outcome, "feature_bytes", (double)o->cost.feature_bytes);
    td_outcome_number(bench->outcome, "exchanged_bytes", o->cost.exchanged_bytes);
}

static void teardown_loss(td_bench *bench) {
    loss_state *s = bench->state;
    td_program_destroy(s->program);
    if (s->comm) {
        td_comm_destroy(s->comm);
    }
    td_loss_oracle_destroy(&s->oracle);
    td_arena_destroy(&s->arena);
    td_free(s);
}

const td_workload td_workload_loss = {
    .name = "loss",
    .list = list_losses,
    .fits = fits_loss,
    .segment = segment_loss,
    .setup = setup_loss,
    .verify = verify_loss,
    .step = run_loss,
    .cost = cost_loss,
    .teardown = teardown_loss,
};
