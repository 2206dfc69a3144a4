/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/schedule.h"

#include <string.h>

#include "base/memory.h"

static void start_phase(td_moves *s, td_buffer in) {
    s->base = s->rounds;
    s->in = in;
    for (int rank = 0; rank < s->ranks && s->at != NULL; rank++) {
        s->at[rank] = in;
    }
}

td_status td_schedule_create(const td_schedule_options *options, td_generate_fn *generate,
                             td_moves *out) {
    td_moves s = {.ranks = options->ranks,
                  .root = options->root,
                  .blocks = options->blocks,
                  .segments = options->segments,
                  .nodes = options->nodes,
                  .in_place = options->in_place,
                  .sink = options->sink,
                  .sink_arg = options->sink_arg,
                  .at = td_alloc((size_t)options->ranks * sizeof *s.at)};
    start_phase(&s, TD_BUFFER_IN);
    if (s.at == NULL) {
        s.out_of_memory = true;
    } else if (generate != NULL) {
        generate(&s);
    }
    if (s.out_of_memory) {
        td_schedule_destroy(&s);
        return td_fail(TD_ENOMEM, "a schedule of %d ranks", options->ranks);
    }
    *out = s;
    return TD_OK;
}

void td_schedule_destroy(td_moves *s) {
    td_free(s->moves);
    td_free(s->at);
    *s = (td_moves){0};
}

static void add_move(td_moves *s, td_move move) {
    bool stays = move.kind == TD_MOVE_COPY && move.peer == move.rank &&
                 move.from.buffer == move.to.buffer && move.from.chunk == move.to.chunk;
    if ((move.chunks == 0 && move.kind != TD_MOVE_MEET) || stays) {
        return;
    }
    if (s->sink != NULL) {
        move.round += s->base;
        s->rounds = move.round >= s->rounds ? move.round + 1 : s->rounds;
        s->sink_full = s->sink_full || !s->sink(s->sink_arg, &move);
        return;
    }
    if (s->n_moves == s->capacity && !s->out_of_memory) {
        int capacity = s->capacity == 0 ? 64 : 2 * s->capacity;
        td_move *larger = td_realloc(s->moves, (size_t)capacity * sizeof *larger);
        s->out_of_memory = larger == NULL;
        if (larger != NULL) {
            s->moves = larger;
            s->capacity = capacity;
        }
    }
    if (s->out_of_memory) {
        return;
    }
    move.round += s->base;
    s->rounds = move.round >= s->rounds ? move.round + 1 : s->rounds;
    s->moves[s->n_moves++] = move;
}

void td_copy(td_moves *s, int round, int rank, td_place to, int peer, td_place from, int chunks) {
    add_move(s, (td_move){.kind = TD_MOVE_COPY,
                          .round = round,
                          .rank = rank,
                          .peer = peer,
                          .from = from,
                          .to = to,
                          .chunks = chunks});
}

void td_add(td_moves *s, int round, int rank, td_place to, td_place with, int peer, td_place from,
            int chunks) {
    add_move(s, (td_move){.kind = TD_MOVE_REDUCE,
                          .round = round,
                          .rank = rank,
                          .peer = peer,
                          .from = from,
                          .with = with,
                          .to = to,
                          .chunks = chunks});
}

void td_finish(td_moves *s, int round, int rank, td_place to, int peer, td_place from, int chunks) {
    add_move(s, (td_move){.kind = TD_MOVE_FINISH,
                          .round = round,
                          .rank = rank,
                          .peer = peer,
                          .from = from,
                          .to = to,
                          .chunks = chunks});
}

void td_meet(td_moves *s, int round, int rank, int peer) {
    add_move(s, (td_move){.kind = TD_MOVE_MEET, .round = round, .rank = rank, .peer = peer});
}

/* The two pieces of a range of blocks that wraps round the last one; the second may be empty. */
typedef struct pieces {
    int chunk[2], chunks[2];
} pieces;

static pieces cut(const td_moves *s, int block, int blocks) {
    block = (block % s->blocks + s->blocks) % s->blocks;
    int first = block + blocks <= s->blocks ? blocks : s->blocks - block;
    return (pieces){{block * s->segments, 0},
                    {first * s->segments, (blocks - first) * s->segments}};
}

void td_copy_blocks(td_moves *s, int round, int rank, td_buffer to, int peer, td_buffer from,
                    int block, int blocks) {
    pieces p = cut(s, block, blocks);
    for (int i = 0; i < 2; i++) {
        td_copy(s, round, rank, td_at(to, p.chunk[i]), peer, td_at(from, p.chunk[i]), p.chunks[i]);
    }
}

void td_add_blocks(td_moves *s, int round, int rank, td_buffer to, td_buffer with, int peer,
                   td_buffer from, int block, int blocks) {
    pieces p = cut(s, block, blocks);
    for (int i = 0; i < 2; i++) {
        td_add(s, round, rank, td_at(to, p.chunk[i]), td_at(with, p.chunk[i]), peer,
               td_at(from, p.chunk[i]), p.chunks[i]);
    }
}

void td_finish_blocks(td_moves *s, int round, int rank, td_buffer to, int peer, td_buffer from,
                      int block, int blocks) {
    pieces p = cut(s, block, blocks);
    for (int i = 0; i < 2; i++) {
        td_finish(s, round, rank, td_at(to, p.chunk[i]), peer, td_at(from, p.chunk[i]),
                  p.chunks[i]);
    }
}

td_buffer td_keep_input(td_moves *s) {
    if (!s->in_place) {
        return s->in;
    }
    for (int rank = 0; rank < s->ranks; rank++) {
        td_copy_blocks(s, 0, rank, TD_BUFFER_T0, rank, s->in, 0, s->blocks);
    }
    start_phase(s, TD_BUFFER_T0);
    return s->in;
}

void td_then(td_moves *s) {
    start_phase(s, TD_BUFFER_OUT);
}

static bool is_remote(const td_move *move) {
    return move->peer != move->rank;
}

bool td_move_is_nothing(const td_move *move, td_aliases aliases) {
    return move->kind == TD_MOVE_COPY && !is_remote(move) && move->from.chunk == move->to.chunk &&
           td_physical(move->from.buffer, aliases) == td_physical(move->to.buffer, aliases);
}

/* traffic: two counters for every rank of every round. */
static void count_moves(const td_moves *s, int *traffic, bool *talks, td_schedule_cost *out) {
    td_aliases aliases = {.in_place = s->in_place};
    for (int i = 0; i < s->n_moves; i++) {
        const td_move *move = &s->moves[i];
        if (is_remote(move)) {
            int *row = traffic + (size_t)move->round * (size_t)s->ranks * 2;
            talks[move->round] = true;
            row[2 * move->rank] += move->chunks;
            row[2 * move->peer + 1] += move->chunks;
        }
        /* A finish in place moves data only when types differ: a matter of the call, not counted.
         */
        bool stays =
            move->kind == TD_MOVE_FINISH && !is_remote(move) &&
            td_physical(move->from.buffer, aliases) == td_physical(move->to.buffer, aliases);
        if (stays || td_move_is_nothing(move, aliases)) {
            continue;
        }
        out->loads += move->kind == TD_MOVE_REDUCE ? 2 * move->chunks : move->chunks;
        out->stores += move->chunks;
    }
}

td_status td_schedule_cost_of(const td_moves *s, td_schedule_cost *out) {
    size_t cells = (size_t)s->rounds * (size_t)s->ranks * 2;
    int *traffic = td_alloc_zero((cells + 1) * sizeof *traffic);
    bool *talks = td_alloc_zero((size_t)s->rounds + 1);
    *out = (td_schedule_cost){0};
    if (traffic == NULL || talks == NULL) {
        td_free(talks);
        td_free(traffic);
        return td_fail(TD_ENOMEM, "the cost of a schedule of %d rounds", s->rounds);
    }
    count_moves(s, traffic, talks, out);
    for (int round = 0; round < s->rounds; round++) {
        int most = 0;
        for (int i = 0; i < 2 * s->ranks; i++) {
            int here = traffic[(size_t)round * (size_t)s->ranks * 2 + (size_t)i];
            most = here > most ? here : most;
        }
        out->rounds += talks[round];
        out->chunks += most;
    }
    td_free(talks);
    td_free(traffic);
    return TD_OK;
}
