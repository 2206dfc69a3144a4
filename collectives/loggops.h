/* SPDX-License-Identifier: Apache-2.0
 * What a schedule would take on a machine that is not here: the LogGOPS model (Hoefler, Schneider,
 * Lumsdaine, 2010) over a hierarchy of levels, as hwloc draws one: node, package, core. The moves
 * are those that the executor runs.
 *
 * A move of a round is a message from the rank that has the data, which sends when it is done with
 * the rounds before. The model's assumptions, in the order in which a message meets them:
 *   o + bytes O  of the sender's time, one message after another
 *   g, bytes G   of the sender's link, and of the receiver's: as long as they are taken, others
 *                wait. A rank has a link of its own at every level; where a level is shared, all
 *                ranks of one of its units have one together (the network card of a node)
 *   L            on the way
 *   o + bytes O  of the receiver's time, and then what it takes to add or copy the data
 * Beyond S bytes sender and receiver meet first: one latency and two overheads there and back.
 * Messages of one round take a link in the order of the schedule. A link is full duplex.
 */
#ifndef TD_COLLECTIVES_LOGGOPS_H
#define TD_COLLECTIVES_LOGGOPS_H

#include "collectives/comm.h"
#include "collectives/schedule.h"

enum { TD_NETWORK_LEVELS = 6, TD_NETWORK_NAME = 16, TD_SIMULATED_RANKS = 16384 };

/* Two ranks talk over the outermost level at which they are in different units. */
typedef struct td_network_level {
    char name[TD_NETWORK_NAME];
    int units;            /* in one unit of the level outside; of the innermost: ranks */
    double L, o, g, G, O; /* ns, ns, ns, ns a byte, ns a byte */
    bool shared;
} td_network_level;

typedef struct td_network {
    int levels; /* outermost first */
    td_network_level level[TD_NETWORK_LEVELS];
    double S;            /* bytes; 0: messages of any size are sent at once */
    double copy, reduce; /* ns a byte that a rank copies within its memory, and adds */
    /* As execute_messages.c sends: every move is a message of its own, and before the first one
     * from a rank to another goes its call, with the data behind it where that is short. */
    bool descriptors;
    /* Not one after the other: all messages on a link have an equal share of it (max-min fairness),
     * from when they have been L on their way to when all their bytes are there. No g, no S. */
    bool fair;
} td_network;

/* "node:64/L=1500,o=300,G=0.08,shared package:2/L=300,G=0.05 core:8/L=100,G=0.1": levels from the
 * outside in, units and parameters of each; those left out are 0. TD_EUSAGE says what was expected.
 */
td_status td_network_parse(const char *text, td_network *out);

/* Ranks that there is place for. */
int64_t td_network_ranks(const td_network *network);

typedef struct td_simulation {
    double ns; /* until the last rank is done */
    int rounds;
    int64_t messages;
    double bytes; /* of all messages */
} td_simulation;

/* A row on so many ranks, placed one after another, root 0, out of place; bytes of the vector (for
 * alltoall, of all blocks of a rank). TD_EUSAGE: a direct row, which is no schedule; a number of
 * ranks that the row or the network does not take. TD_ESKIP: more moves than TD_SIMULATED_MOST, or
 * than there is room for, where they do not come in order.
 */
#define TD_SIMULATED_MOST INT64_C(800000000)
td_status td_simulate(const td_network *network, const td_collective *row, int ranks, double bytes,
                      td_simulation *out);

#endif
