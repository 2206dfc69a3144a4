/* SPDX-License-Identifier: Apache-2.0
 * What the two ways to share links have in common: loggops.c, where a link takes one message after
 * the other, and loggops_fair.c.
 */
#ifndef TD_COLLECTIVES_LOGGOPS_STATE_H
#define TD_COLLECTIVES_LOGGOPS_STATE_H

#include "collectives/loggops.h"

/* What is kept of a move. */
typedef struct td_sim_message {
    int round, rank, peer, chunks;
    td_move_kind kind;
    double arrives;
    double greets; /* when the sender's descriptor arrives; negative: it sends none */
    bool packed;   /* with the descriptor */
} td_sim_message;

typedef struct td_sim_run {
    const td_network *network;
    int ranks;
    double chunk_bytes;
    int *const *unit; /* of each level, of each rank, counted over the whole machine */
    double *now;      /* of each rank: when it is done */
} td_sim_run;

/* The outermost level at which two ranks are in different units. */
int td_sim_level(const td_sim_run *run, int a, int b);

/* What receiving, once it is there, takes of a rank's time; and what the move itself takes. */
void td_sim_greet(const td_sim_run *run, const td_sim_message *m);
void td_sim_receive(const td_sim_run *run, const td_sim_message *m);

/* All messages of a schedule, in order of rounds, on links that messages share evenly. greets:
 * whether the sender's descriptor goes before (0) or not (negative); arrives is set. */
td_status td_sim_fair(const td_sim_run *run, td_sim_message *messages, int64_t n,
                      td_simulation *result);

#endif
