/* SPDX-License-Identifier: Apache-2.0 */
#include "objective_case.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "train_case.h"

static void normalise(float *row, int64_t n) {
    double sum = 0;
    for (int64_t c = 0; c < n; c++) {
        sum += (double)row[c] * (double)row[c];
    }
    for (int64_t c = 0; c < n; c++) {
        row[c] = (float)((double)row[c] / sqrt(sum));
    }
}

td_loss_case td_loss_case_make(td_loss kind, int64_t batch, int64_t blocks, int64_t embed,
                               float scale, double closeness) {
    td_loss_case c = {.kind = kind,
                      .batch = batch,
                      .blocks = blocks,
                      .embed = embed,
                      .scale = scale,
                      .bias = kind == TD_LOSS_SIGMOID ? -10 : 0,
                      .images = td_alloc((size_t)(batch * embed) * sizeof(float)),
                      .texts = td_alloc((size_t)(batch * embed) * sizeof(float))};
    for (int64_t i = 0; i < batch; i++) {
        td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, (uint64_t)i);
        float *image = c.images + i * embed, *text = c.texts + i * embed;
        for (int64_t e = 0; e < embed; e++) {
            image[e] = (float)td_rng_normal(&rng);
            text[e] = (float)(closeness * (double)image[e] + td_rng_normal(&rng));
        }
        normalise(image, embed);
        normalise(text, embed);
    }
    return c;
}

void td_loss_case_free(td_loss_case *c) {
    td_free(c->images);
    td_free(c->texts);
}

static td_loss_answer empty(const td_loss_case *c) {
    size_t bytes = (size_t)(c->batch * c->embed) * sizeof(double);
    return (td_loss_answer){.d_images = td_alloc_zero(bytes), .d_texts = td_alloc_zero(bytes)};
}

void td_loss_answer_free(td_loss_answer *answer) {
    td_free(answer->d_images);
    td_free(answer->d_texts);
}

/* What comes back through the segment of rank 0, before the gradients of images and of texts. */
typedef struct head {
    td_block_sums total;
    td_objective_cost cost;
} head;

typedef struct job {
    const td_loss_case *loss;
    size_t result_bytes, segment_bytes, arena_bytes;
} job;

static size_t result_bytes(const td_loss_case *c) {
    size_t floats = (size_t)(2 * c->batch * c->embed);
    return (sizeof(head) + floats * sizeof(float) + 63) / 64 * 64;
}

static td_objective objective_of(const td_loss_case *c, td_rank *rank, td_comm *comm, int ranks) {
    return (td_objective){.kind = c->kind,
                          .way = c->way,
                          .split = {c->batch, c->blocks, rank == NULL ? 0 : rank->rank, ranks},
                          .embed = c->embed,
                          .rank = rank,
                          .comm = comm,
                          .scale = &c->scale,
                          .bias = &c->bias};
}

static void build(td_objective *o, const job *j, td_program *program, td_plan *segment,
                  td_plan *arena) {
    td_plan_take(segment, j->result_bytes);
    int64_t count = o->split.ranks * o->split.batch * o->embed;
    td_plan_take(segment, (size_t)td_comm_bytes(o->split.ranks, count, TD_F32));
    td_program_clear(program);
    td_objective_plan(o, segment, arena);
    td_objective_build(o, program, arena, 0);
}

static void collect(const td_objective *o, td_rank *rank, const td_loss_case *c) {
    head *to = (head *)(void *)rank->segment;
    *to = (head){td_objective_total(o), o->cost};
    float *all[2] = {(float *)(void *)(to + 1), (float *)(void *)(to + 1) + c->batch * c->embed};
    const float *own[2] = {o->image.d_own, o->text.d_own};
    for (int i = 0; i < 2; i++) {
        int64_t first = td_split_first_row(&o->split, rank->rank) * c->embed;
        size_t bytes = (size_t)(td_split_rows(&o->split, rank->rank) * c->embed) * sizeof(float);
        memcpy((float *)td_rank_peer(rank, 0, all[i]) + first, own[i], bytes);
    }
}

static td_status run_rank(td_rank *rank, void *arg) {
    const job *j = arg;
    td_program *program;
    td_team *team;
    td_arena block;
    td_comm *comm;
    TD_TRY(td_program_create(&program));
    TD_TRY(td_arena_create(j->arena_bytes + 64, &block));
    int64_t count = rank->count * j->loss->batch * j->loss->embed;
    TD_TRY(td_comm_create(rank, rank->segment + j->result_bytes,
                          td_comm_bytes(rank->count, count, TD_F32), &comm));
    td_objective o = objective_of(j->loss, rank, comm, rank->count);
    td_plan segment = {.base = rank->segment}, arena = {.base = block.base};
    build(&o, j, program, &segment, &arena);
    td_team_options options = {.workers = rank->workers,
                               .scratch_bytes = td_program_scratch_bytes(program),
                               .shares_cpus = true};
    TD_TRY(td_team_create(&options, &team));
    TD_TRY(td_program_finish(program, rank->workers));
    int64_t first = td_split_first_row(&o.split, rank->rank) * j->loss->embed;
    size_t bytes = (size_t)(td_split_rows(&o.split, rank->rank) * j->loss->embed) * sizeof(float);
    memcpy(o.image.own, j->loss->images + first, bytes);
    memcpy(o.text.own, j->loss->texts + first, bytes);
    TD_TRY(td_program_run(program, team));
    TD_TRY(td_program_run(program, team));
    collect(&o, rank, j->loss);
    td_team_destroy(team);
    td_comm_destroy(comm);
    td_arena_destroy(&block);
    td_program_destroy(program);
    return TD_OK;
}

/* A rank with more blocks than rank 0 needs a larger arena. */
static void measure(job *j, int ranks) {
    td_program *program;
    td_case_ok(td_program_create(&program));
    for (int r = 0; r < ranks; r++) {
        td_plan segment = {0}, arena = {0};
        td_objective o = objective_of(j->loss, NULL, NULL, ranks);
        o.split.rank = r;
        build(&o, j, program, &segment, &arena);
        j->segment_bytes = segment.used_bytes;
        j->arena_bytes = arena.used_bytes > j->arena_bytes ? arena.used_bytes : j->arena_bytes;
    }
    td_program_destroy(program);
}

td_loss_answer td_loss_case_run(const td_loss_case *c, const char *layout) {
    td_group_options group = {.deadline_ns = INT64_C(20000000000)};
    td_case_ok(td_layout_parse(layout, &group.layout));
    group.layout.over = true;
    job j = {.loss = c, .result_bytes = result_bytes(c)};
    measure(&j, group.layout.ranks);
    group.segment_bytes = j.segment_bytes;
    head *result = td_alloc(j.result_bytes);
    td_case_ok(td_group_run_result(&group, run_rank, &j, result, j.result_bytes));
    td_loss_answer answer = empty(c);
    answer.loss = result->total.loss;
    answer.dscale = result->total.dscale;
    answer.dbias = result->total.dbias;
    answer.cost = result->cost;
    const float *gradients = (const float *)(const void *)(result + 1);
    for (int64_t i = 0; i < c->batch * c->embed; i++) {
        answer.d_images[i] = (double)gradients[i];
        answer.d_texts[i] = (double)gradients[c->batch * c->embed + i];
    }
    td_free(result);
    return answer;
}

/* lse (2 batch): of rows, then of columns. */
static void log_sum_exps(const double *s, int64_t n, double *lse) {
    for (int64_t i = 0; i < 2 * n; i++) {
        int64_t first = i < n ? i * n : i - n, step = i < n ? 1 : n;
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) {
            top = fmax(top, s[first + j * step]);
        }
        for (int64_t j = 0; j < n; j++) {
            sum += exp(s[first + j * step] - top);
        }
        lse[i] = top + log(sum);
    }
}

static void add_pair(const td_loss_case *c, td_loss_answer *a, int64_t i, int64_t j, double g,
                     double score) {
    a->dscale += g * score;
    a->dbias += g;
    for (int64_t e = 0; e < c->embed; e++) {
        a->d_images[i * c->embed + e] += (double)c->scale * g * (double)c->texts[j * c->embed + e];
        a->d_texts[j * c->embed + e] += (double)c->scale * g * (double)c->images[i * c->embed + e];
    }
}

static double softplus(double x) {
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

td_loss_answer td_loss_twin(const td_loss_case *c, double of_images, double of_texts) {
    td_loss_answer a = empty(c);
    int64_t n = c->batch;
    double *s = td_alloc_zero((size_t)(n * n) * sizeof *s), m = (double)n;
    double *lse = td_alloc((size_t)(2 * n) * sizeof *lse);
    for (int64_t i = 0; i < n * n; i++) {
        for (int64_t e = 0; e < c->embed; e++) {
            s[i] += (double)c->scale * (double)c->images[i / n * c->embed + e] *
                    (double)c->texts[i % n * c->embed + e];
        }
    }
    log_sum_exps(s, n, lse);
    for (int64_t i = 0; i < n * n; i++) {
        int64_t row = i / n, col = i % n;
        double l = s[i] + (double)c->bias, own = row == col ? 1 : 0;
        if (c->kind == TD_LOSS_SIGMOID) {
            a.loss += softplus(row == col ? -l : l) / m;
            add_pair(c, &a, row, col, (row == col ? -1 / (1 + exp(l)) : 1 / (1 + exp(-l))) / m,
                     s[i]);
            continue;
        }
        a.loss +=
            own * (of_images * (lse[row] - s[i]) + of_texts * (lse[n + col] - s[i])) / (2 * m);
        double g =
            of_images * (exp(s[i] - lse[row]) - own) + of_texts * (exp(s[i] - lse[n + col]) - own);
        add_pair(c, &a, row, col, g / (2 * m), s[i]);
    }
    a.dbias = c->kind == TD_LOSS_SIGMOID ? a.dbias : 0;
    td_free(s);
    td_free(lse);
    return a;
}

double td_loss_distance(const double *got, const double *want, int64_t n) {
    double gap = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        gap += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(gap / size);
}

double td_loss_cosine(const double *got, const double *want, int64_t n) {
    double both = 0, one = 0, two = 0;
    for (int64_t i = 0; i < n; i++) {
        both += got[i] * want[i];
        one += got[i] * got[i];
        two += want[i] * want[i];
    }
    return both / sqrt(one * two);
}
