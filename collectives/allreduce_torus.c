/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Ranks in rows of td_torus_width: rings along the rows leave a rank a part of its row's sum, rings
 * down the columns sum and spread the parts, rings along the rows spread them. A part has as many
 * blocks as there are rows. */
typedef struct line {
    int size, place, previous; /* of one rank in its ring */
    int blocks, first;         /* of a part, and where the parts start */
} line;

static int part_of(const line *ring, int steps_back) {
    int place = ((ring->place - steps_back) % ring->size + ring->size) % ring->size;
    return ring->first + place * ring->blocks;
}

static void reduce_along(td_moves *s, const line *ring, int rank, int round, td_buffer at) {
    for (int step = 0; step < ring->size - 1; step++) {
        td_add_blocks(s, round + step, rank, TD_BUFFER_PARTIAL, at, ring->previous,
                      step == 0 ? at : TD_BUFFER_PARTIAL, part_of(ring, step + 2), ring->blocks);
    }
}

static void gather_along(td_moves *s, const line *ring, int rank, int round) {
    for (int step = 0; step < ring->size - 1; step++) {
        td_copy_blocks(s, round + step, rank, TD_BUFFER_OUT, ring->previous, TD_BUFFER_OUT,
                       part_of(ring, step + 1), ring->blocks);
    }
}

void td_allreduce__torus(td_moves *s) {
    int p = s->ranks, width = td_torus_width(p), height = p / width, there = width + height - 2;
    for (int rank = 0; rank < p; rank++) {
        int x = rank % width, y = rank / width;
        line row = {width, x, y * width + (x + width - 1) % width, height, 0};
        line column = {height, y, (y + height - 1) % height * width + x, 1, x * height};
        reduce_along(s, &row, rank, 0, s->in);
        reduce_along(s, &column, rank, width - 1, width > 1 ? TD_BUFFER_PARTIAL : s->in);
        td_finish_blocks(s, there, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL,
                         part_of(&column, 0), 1);
        gather_along(s, &column, rank, there + 1);
        gather_along(s, &row, rank, there + height);
    }
}
