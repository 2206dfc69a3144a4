/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "collectives/comm.h"
#include "collectives/schedule.h"

static const td_aliases in_place = {.in_place = true};

/* ---- two rows in sequence ---- */

typedef struct halves {
    const td_collective *first, *second; /* NULL: not made of two */
    int round;                           /* of the whole, where the second begins */
} halves;

static bool same_place(td_place a, td_place b) {
    return a.chunk == b.chunk && td_physical(a.buffer, in_place) == td_physical(b.buffer, in_place);
}

static bool same_move(const td_move *a, const td_move *b, int rounds) {
    return a->kind == b->kind && a->round == b->round + rounds && a->rank == b->rank &&
           a->peer == b->peer && a->chunks == b->chunks && same_place(a->from, b->from) &&
           same_place(a->to, b->to) && (a->kind != TD_MOVE_REDUCE || same_place(a->with, b->with));
}

static int skip_nothing(const td_moves *s, int at) {
    while (at < s->n_moves && td_move_is_nothing(&s->moves[at], in_place)) {
        at++;
    }
    return at;
}

/* The end of the moves of `whole` from `at` on that are those of `part`, `rounds` later; -1: they
 * are not. */
static int match(const td_moves *whole, int at, int rounds, const td_moves *part) {
    for (int i = skip_nothing(part, 0); i < part->n_moves; i = skip_nothing(part, i + 1)) {
        at = skip_nothing(whole, at);
        if (at == whole->n_moves || !same_move(&whole->moves[at], &part->moves[i], rounds)) {
            return -1;
        }
        at++;
    }
    return skip_nothing(whole, at);
}

/* The next row from `row` on whose moves are those of `whole` from `at` on, up to its end or not;
 * NULL when there is none. `at` and `rounds` are moved past it. */
static td_status find_part(const td_moves *whole, bool to_end, const td_collective *row, int *at,
                           int *rounds, const td_collective **out) {
    int n;
    const td_collective *last = td_collectives(&n) + n;
    *out = NULL;
    for (; row < last && *out == NULL; row++) {
        if (row->generate == NULL || row->id == TD_COLL_barrier || !row->fits(whole->ranks) ||
            row->blocks(whole->ranks) != whole->blocks) {
            continue;
        }
        td_moves part;
        TD_TRY(td_collective_schedule(row, whole->ranks, 0, whole->segments, true, &part));
        int end = match(whole, *at, *rounds, &part);
        if (end > *at && (end == whole->n_moves) == to_end) {
            *at = end;
            *rounds += part.rounds;
            *out = row;
        }
        td_schedule_destroy(&part);
    }
    return TD_OK;
}

/* Of a schedule that is not linked yet, so that its moves are in the order of the generators. */
static td_status find_halves(const td_moves *whole, halves *out) {
    int n;
    const td_collective *from = td_collectives(&n);
    *out = (halves){0};
    while (true) {
        halves h = {0};
        int at = skip_nothing(whole, 0), rounds = 0;
        TD_TRY(find_part(whole, false, from, &at, &rounds, &h.first));
        if (h.first == NULL) {
            return TD_OK;
        }
        h.round = rounds;
        TD_TRY(find_part(whole, true, td_collectives(&n), &at, &rounds, &h.second));
        if (h.second != NULL) {
            *out = h;
            return TD_OK;
        }
        from = h.first + 1;
    }
}

/* ---- what the ranks hold ---- */

typedef struct held {
    bool told;
    int chunk;
    uint64_t ranks; /* none: nothing is there */
} held;

typedef struct story {
    const td_moves *s;
    td_text *out;
    held *all; /* [round + 1][rank][buffer][chunk] */
    bool uses[TD_BUFFER_COUNT];
    int width;
} story;

enum { HELD_TEXT = 64 };
_Static_assert(TD_EXPLAIN_RANKS <= 16, "0+1+..+15@15 has to fit");

static held *held_at(const story *t, int round, int rank, td_buffer buffer, int chunk) {
    size_t row = ((size_t)(round + 1) * (size_t)t->s->ranks + (size_t)rank) * TD_BUFFER_COUNT +
                 (size_t)buffer;
    return &t->all[row * (size_t)td_chunks(t->s) + (size_t)chunk];
}

static int print_held(const held *h, int chunk, char *out) {
    int size = 0;
    out[0] = 0;
    for (int rank = 0; rank < TD_EXPLAIN_RANKS; rank++) {
        if ((h->ranks >> rank & 1) != 0) {
            size += snprintf(out + size, HELD_TEXT - (size_t)size, size ? "+%d" : "%d", rank);
        }
    }
    if (size == 0) {
        return snprintf(out, HELD_TEXT, ".");
    }
    if (h->chunk != chunk) {
        size += snprintf(out + size, HELD_TEXT - (size_t)size, "@%d", h->chunk);
    }
    return size;
}

static void wrote(void *arg, int rank, int round, td_place at, int chunk, const uint64_t *ranks) {
    story *t = arg;
    char text[HELD_TEXT];
    held *h = held_at(t, round, rank, at.buffer, at.chunk);
    *h = (held){true, chunk, ranks[0]};
    t->uses[at.buffer] = true;
    int width = print_held(h, at.chunk, text);
    t->width = width > t->width ? width : t->width;
}

/* What a round has not written is there still. */
static void carry_over(story *t) {
    size_t cells = (size_t)t->s->ranks * TD_BUFFER_COUNT * (size_t)td_chunks(t->s);
    for (size_t i = cells; i < cells * (size_t)(t->s->rounds + 1); i++) {
        if (!t->all[i].told) {
            t->all[i] = t->all[i - cells];
        }
    }
}

/* ---- text ---- */

static const char *scratch_name(td_buffer buffer) {
    return buffer == TD_BUFFER_T0 ? "t0 " : buffer == TD_BUFFER_T1 ? "t1 " : "";
}

static void put_place(td_text *out, const char *before, td_place at, int chunks) {
    td_text_printf(out, "%s%schunk%s %d", before, scratch_name(at.buffer), chunks > 1 ? "s" : "",
                   at.chunk);
    if (chunks > 1) {
        td_text_printf(out, " to %d", at.chunk + chunks - 1);
    }
}

static void put_move(td_text *out, const td_move *move) {
    td_text_printf(out, "  rank %d -> rank %d: ", move->peer, move->rank);
    if (move->kind == TD_MOVE_MEET) {
        td_text_puts(out, "has come\n");
        return;
    }
    put_place(out, "", move->from, move->chunks);
    if (move->kind == TD_MOVE_REDUCE) {
        td_text_puts(out, ", added");
        if (!same_place(move->with, move->from)) {
            put_place(out, " to ", move->with, move->chunks);
        }
        if (!same_place(move->to, move->with)) {
            put_place(out, ", into ", move->to, move->chunks);
        }
    } else {
        td_text_puts(out, ", copied");
        if (!same_place(move->to, move->from)) {
            put_place(out, " to ", move->to, move->chunks);
        }
    }
    td_text_puts(out, "\n");
}

static void put_state(const story *t, int round) {
    char text[HELD_TEXT];
    int scratch = t->uses[TD_BUFFER_T0] || t->uses[TD_BUFFER_T1] ? 3 : 0;
    for (int rank = 0; rank < t->s->ranks; rank++) {
        for (td_buffer buffer = 0; buffer < TD_BUFFER_COUNT; buffer++) {
            if (!t->uses[buffer]) {
                continue;
            }
            td_text_printf(t->out, "    rank %-2d %-*s", rank, scratch, scratch_name(buffer));
            for (int chunk = 0; chunk < td_chunks(t->s); chunk++) {
                print_held(held_at(t, round, rank, buffer, chunk), chunk, text);
                td_text_printf(t->out, "| %-*s ", t->width, text);
            }
            td_text_puts(t->out, "|\n");
        }
    }
}

/* A finish in place moves nothing here, where partial sums have the type of the vector. */
static bool is_shown(const td_move *move) {
    return move->kind == TD_MOVE_MEET || move->peer != move->rank ||
           !same_place(move->from, move->to);
}

/* Numbers count the rounds of the closed form: those in which ranks talk. */
static void put_rounds(const story *t, const halves *h) {
    int number = 0, i = 0;
    for (int round = 0; round < t->s->rounds; round++) {
        bool talks = false;
        int shown = 0, first = i;
        for (; i < t->s->n_moves && t->s->moves[i].round == round; i++) {
            talks = talks || t->s->moves[i].peer != t->s->moves[i].rank;
            shown += is_shown(&t->s->moves[i]);
        }
        if (h->second != NULL && (round == 0 || round == h->round)) {
            const td_collective *half = round == 0 ? h->first : h->second;
            td_text_printf(t->out, "%s, move for move %s/%s:\n", round == 0 ? "first" : "then",
                           half->operation, half->algorithm);
        }
        if (shown == 0) {
            continue;
        }
        if (talks) {
            td_text_printf(t->out, "round %d\n", ++number);
        } else {
            td_text_puts(t->out, "within each rank\n");
        }
        for (int move = first; move < i; move++) {
            if (is_shown(&t->s->moves[move])) {
                put_move(t->out, &t->s->moves[move]);
            }
        }
        put_state(t, round);
    }
}

static td_status tell(const halves *h, const story *t) {
    td_schedule_cost cost;
    TD_TRY(td_schedule_cost_of(t->s, &cost));
    td_text_printf(t->out, "%d ranks, %d round%s", t->s->ranks, cost.rounds,
                   cost.rounds == 1 ? "" : "s");
    if (cost.chunks > 0) {
        td_text_printf(t->out, ", %d chunk%s; a rank sends or receives at most %lld",
                       td_chunks(t->s), td_chunks(t->s) == 1 ? "" : "s", (long long)cost.chunks);
        td_text_puts(t->out, "\nbefore");
    }
    td_text_puts(t->out, "\n");
    put_state(t, TD_ROUND_ENTERED);
    put_rounds(t, h);
    return td_text_status(t->out);
}

/* ---- picture ---- */

enum { CELL_WIDTH = 62, CELL_HEIGHT = 24, LABEL_WIDTH = 50, HEAD_HEIGHT = 20 };

/* One number of the vector in a rank: the more ranks are in it, the darker. */
static void put_cell(const story *t, int round, int rank, int chunk) {
    td_buffer vector = td_physical(TD_BUFFER_OUT, in_place);
    const held *h = held_at(t, round, rank, vector, chunk);
    char text[HELD_TEXT];
    print_held(h, chunk, text);
    int x = LABEL_WIDTH + chunk * CELL_WIDTH, y = HEAD_HEIGHT + rank * CELL_HEIGHT;
    td_text_printf(t->out,
                   "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill-opacity=\"%.2f\"/>"
                   "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>",
                   x, y, CELL_WIDTH - 2, CELL_HEIGHT - 2,
                   0.6 * (double)__builtin_popcountll(h->ranks) / t->s->ranks,
                   x + CELL_WIDTH / 2 - 1, y + 16, text);
}

static void put_grid(const story *t, int round, const char *title) {
    int ranks = t->s->ranks, chunks = td_chunks(t->s);
    td_text_printf(t->out,
                   "<figure class=\"grid\"><figcaption>%s</figcaption>"
                   "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">",
                   title, LABEL_WIDTH + chunks * CELL_WIDTH, HEAD_HEIGHT + ranks * CELL_HEIGHT,
                   title);
    for (int chunk = 0; chunk < chunks; chunk++) {
        td_text_printf(t->out, "<text x=\"%d\" y=\"14\" text-anchor=\"middle\">chunk %d</text>",
                       LABEL_WIDTH + chunk * CELL_WIDTH + CELL_WIDTH / 2 - 1, chunk);
    }
    for (int rank = 0; rank < ranks; rank++) {
        td_text_printf(t->out, "<text x=\"0\" y=\"%d\">rank %d</text>",
                       HEAD_HEIGHT + rank * CELL_HEIGHT + 16, rank);
        for (int chunk = 0; chunk < chunks; chunk++) {
            put_cell(t, round, rank, chunk);
        }
    }
    td_text_puts(t->out, "</svg></figure>\n");
}

static bool talks_in(const td_moves *s, int round) {
    for (int i = 0; i < s->n_moves; i++) {
        if (s->moves[i].round == round && s->moves[i].peer != s->moves[i].rank) {
            return true;
        }
    }
    return false;
}

static td_status draw(const halves *h, const story *t) {
    put_grid(t, TD_ROUND_ENTERED, "before");
    for (int round = 0, number = 0; round < t->s->rounds; round++) {
        const td_collective *half = round < h->round ? h->first : h->second;
        char title[64];
        if (!talks_in(t->s, round)) {
            continue;
        }
        snprintf(title, sizeof title, "after round %d%s%s", ++number, half == NULL ? "" : ", ",
                 half == NULL ? "" : half->operation);
        put_grid(t, round, title);
    }
    return td_text_status(t->out);
}

/* ---- entries ---- */

typedef td_status teller(const halves *h, const story *t);

static td_status follow(const td_collective *row, td_moves *s, teller *told, td_text *out) {
    halves h;
    td_linked linked;
    story t = {.s = s, .out = out};
    td_watch watch = {wrote, &t};
    TD_TRY(find_halves(s, &h));
    TD_TRY(td_schedule_link(s, in_place, -1, &linked));
    t.all = td_alloc_zero((size_t)(s->rounds + 1) * (size_t)s->ranks * TD_BUFFER_COUNT *
                          (size_t)td_chunks(s) * sizeof *t.all);
    td_status status = t.all != NULL ? td_schedule_watch(s, &linked, row->id, in_place, &watch)
                                     : td_fail(TD_ENOMEM, "what %d ranks hold", s->ranks);
    if (status == TD_OK) {
        carry_over(&t);
        status = told(&h, &t);
    }
    td_free(t.all);
    td_linked_destroy(&linked);
    return status;
}

static td_status with_schedule(const td_collective *row, int ranks, teller *told, td_text *out) {
    td_moves s;
    TD_TRY(td_collective_schedule(row, ranks, 0, row->segmented ? ranks : 1, true, &s));
    td_status status = follow(row, &s, told, out);
    td_schedule_destroy(&s);
    return status;
}

td_status td_schedule_explain(const td_collective *row, int ranks, td_text *out) {
    TD_ASSERT(ranks >= 2 && ranks <= TD_EXPLAIN_RANKS);
    td_text_printf(out, "coll/%s/%s: %s\n%s: %s\n", row->operation, row->algorithm, row->doc,
                   row->operation, td_operation_of(row->id)->doc);
    if (row->generate == NULL) {
        td_text_puts(out, "no schedule: a function over shared memory\n");
        return td_text_status(out);
    }
    if (!row->fits(ranks)) {
        td_text_printf(out, "not made for %d ranks\n", ranks);
        return td_text_status(out);
    }
    return with_schedule(row, ranks, tell, out);
}

td_status td_schedule_draw(const td_collective *row, int ranks, td_text *out) {
    TD_ASSERT(ranks >= 2 && ranks <= TD_EXPLAIN_RANKS && row->generate != NULL);
    return with_schedule(row, ranks, draw, out);
}
