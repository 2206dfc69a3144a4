/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/loggops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/options.h"
#include "collectives/comm_state.h"
#include "collectives/loggops_state.h"

typedef td_sim_message message;

typedef struct message_list {
    message *at;
    int64_t n, capacity;
} message_list;

/* On its way: what a move sends, or the descriptor before it. */
typedef struct parcel {
    int from, to;
    int64_t order;
    double bytes, comes; /* when it is at the receiver's link */
    double *arrives;     /* in full */
} parcel;

typedef struct parcel_list {
    parcel *at;
    int64_t n, capacity;
    bool sorted; /* by time */
} parcel_list;

typedef struct simulator {
    td_sim_run run;
    int round;
    double *prev; /* as run.now, with the rounds before */
    int *unit[TD_NETWORK_LEVELS];
    double *out_free[TD_NETWORK_LEVELS], *in_free[TD_NETWORK_LEVELS]; /* of each link */
    uint64_t *met;       /* a bit for each sender and receiver; NULL: nobody sends descriptors */
    parcel_list parcels; /* of this round */
    message_list list;   /* of this round; of all rounds, when they do not come in order */
    bool sorted, out_of_memory;
    td_simulation result;
} simulator;

/* ---- what a network is written as ---- */

static td_status parse_parameter(const char *text, td_network_level *level) {
    const struct {
        const char *name;
        double *field;
    } fields[] = {
        {"L", &level->L}, {"o", &level->o}, {"g", &level->g}, {"G", &level->G}, {"O", &level->O}};
    if (strcmp(text, "shared") == 0) {
        level->shared = true;
        return TD_OK;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (text[0] == fields[i].name[0] && text[1] == '=') {
            return td_parse_real(text + 2, fields[i].name, 0, 1e12, fields[i].field);
        }
    }
    return td_fail(TD_EUSAGE,
                   "machine: level %s: \"%s\"; expected L=, o=, g= (ns), G=, O= (ns a "
                   "byte) or shared",
                   level->name, text);
}

static td_status parse_level(char *text, td_network_level *level) {
    char *parameters = strchr(text, '/'), *units = strchr(text, ':'), *rest = NULL;
    if (parameters != NULL) {
        *parameters++ = '\0';
        units = strchr(text, ':');
    }
    if (units == NULL || units == text || units - text >= TD_NETWORK_NAME) {
        return td_fail(TD_EUSAGE,
                       "machine: \"%s\"; expected NAME:UNITS/PARAMETERS, as "
                       "node:4/L=1500,G=0.1",
                       text);
    }
    *units++ = '\0';
    snprintf(level->name, sizeof level->name, "%s", text);
    long long count;
    TD_TRY(td_parse_int(units, "units of a level", 1, TD_SIMULATED_RANKS, &count));
    level->units = (int)count;
    for (char *at = parameters == NULL ? NULL : strtok_r(parameters, ",", &rest); at != NULL;
         at = strtok_r(NULL, ",", &rest)) {
        TD_TRY(parse_parameter(at, level));
    }
    return TD_OK;
}

td_status td_network_parse(const char *text, td_network *out) {
    char copy[512], *rest = NULL;
    td_network network = {0};
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) {
        return td_fail(TD_EUSAGE, "machine: more than %zu characters", sizeof copy - 1);
    }
    for (char *at = strtok_r(copy, " ", &rest); at != NULL; at = strtok_r(NULL, " ", &rest)) {
        if (network.levels == TD_NETWORK_LEVELS) {
            return td_fail(TD_EUSAGE, "machine: too many levels; expected at most %d",
                           TD_NETWORK_LEVELS);
        }
        TD_TRY(parse_level(at, &network.level[network.levels++]));
    }
    if (network.levels == 0) {
        return td_fail(TD_EUSAGE, "machine: no level; expected NAME:UNITS/PARAMETERS");
    }
    *out = network;
    return TD_OK;
}

int64_t td_network_ranks(const td_network *network) {
    int64_t ranks = 1;
    for (int i = 0; i < network->levels && ranks <= TD_SIMULATED_RANKS; i++) {
        ranks *= network->level[i].units;
    }
    return ranks;
}

/* ---- one round ---- */

int td_sim_level(const td_sim_run *run, int a, int b) {
    int level = 0;
    while (level + 1 < run->network->levels && run->unit[level][a] == run->unit[level][b]) {
        level++;
    }
    return level;
}

static double later(double a, double b) {
    return a > b ? a : b;
}

static void pass(simulator *s, parcel what) {
    int at = td_sim_level(&s->run, what.from, what.to);
    const td_network_level *l = &s->run.network->level[at];
    double start = s->run.now[what.from];
    if (s->run.network->S > 0 && what.bytes > s->run.network->S) {
        start = later(start + l->o + l->L, s->prev[what.to]) + l->o + l->L;
    }
    s->run.now[what.from] = start + l->o + what.bytes * l->O;
    double *out = &s->out_free[at][l->shared ? s->unit[at][what.from] : what.from];
    double leaves = later(s->run.now[what.from], *out);
    *out = leaves + later(l->g, what.bytes * l->G);
    s->result.messages++;
    s->result.bytes += what.bytes;
    what.comes = leaves + l->L;
    s->parcels.sorted = s->parcels.sorted &&
                        (s->parcels.n == 0 || s->parcels.at[s->parcels.n - 1].comes <= what.comes);
    s->parcels.at[s->parcels.n++] = what;
}

static int compare_parcels(const void *a, const void *b) {
    const parcel *x = a, *y = b;
    return x->comes != y->comes ? (x->comes > y->comes) - (x->comes < y->comes)
                                : (x->order > y->order) - (x->order < y->order);
}

/* Whatever comes first takes the receiver's link first. */
static void take_in(simulator *s) {
    if (!s->parcels.sorted) {
        qsort(s->parcels.at, (size_t)s->parcels.n, sizeof *s->parcels.at, compare_parcels);
    }
    for (int64_t i = 0; i < s->parcels.n; i++) {
        const parcel *what = &s->parcels.at[i];
        int at = td_sim_level(&s->run, what->from, what->to);
        const td_network_level *l = &s->run.network->level[at];
        double *in = &s->in_free[at][l->shared ? s->unit[at][what->to] : what->to];
        double begins = later(what->comes, *in);
        *in = begins + later(l->g, what->bytes * l->G);
        *what->arrives = begins + what->bytes * l->G;
    }
}

static bool have_met(simulator *s, int from, int to) {
    size_t bit = (size_t)from * (size_t)s->run.ranks + (size_t)to;
    uint64_t *word = &s->met[bit / 64], mask = UINT64_C(1) << bit % 64;
    bool met = (*word & mask) != 0;
    *word |= mask;
    return met;
}

/* Whether a descriptor goes before this message, and the data with it. */
static void announce(simulator *s, message *m) {
    bool first = s->met != NULL && m->peer != m->rank && !have_met(s, m->peer, m->rank);
    m->greets = first ? 0 : -1;
    m->packed = first && m->chunks * s->run.chunk_bytes <= TD_MESSAGES_PACKED;
}

static void send(simulator *s, message *m) {
    parcel data = {.from = m->peer,
                   .to = m->rank,
                   .order = s->parcels.n,
                   .bytes = m->chunks * s->run.chunk_bytes,
                   .arrives = &m->arrives};
    announce(s, m);
    if (m->greets >= 0) {
        parcel first = data;
        first.bytes = (double)sizeof(td_comm_call) + (m->packed ? data.bytes : 0);
        first.arrives = &m->greets;
        pass(s, first);
        data.order++;
    }
    if (!m->packed) {
        pass(s, data);
    }
}

static void take(const td_sim_run *run, const message *m, double arrives, double bytes) {
    const td_network_level *l = &run->network->level[td_sim_level(run, m->peer, m->rank)];
    run->now[m->rank] = later(run->now[m->rank], arrives) + l->o + bytes * l->O;
}

void td_sim_greet(const td_sim_run *run, const message *m) {
    if (m->peer != m->rank && m->greets >= 0) {
        double bytes = m->packed ? m->chunks * run->chunk_bytes : 0;
        take(run, m, m->greets, (double)sizeof(td_comm_call) + bytes);
    }
}

void td_sim_receive(const td_sim_run *run, const message *m) {
    double bytes = m->chunks * run->chunk_bytes;
    if (m->peer == m->rank && m->kind == TD_MOVE_COPY) {
        run->now[m->rank] += bytes * run->network->copy;
    } else if (m->peer != m->rank && !m->packed) {
        take(run, m, m->arrives, bytes);
    }
    if (m->kind == TD_MOVE_REDUCE) {
        run->now[m->rank] += bytes * run->network->reduce;
    }
}

/* Room for what n moves send: the data, and descriptors. */
static bool make_room(simulator *s, int64_t n) {
    if (2 * n > s->parcels.capacity) {
        parcel *larger = td_realloc(s->parcels.at, 2 * (size_t)n * sizeof *larger);
        if (larger == NULL) {
            s->out_of_memory = true;
            return false;
        }
        s->parcels.at = larger;
        s->parcels.capacity = 2 * n;
    }
    s->parcels.n = 0;
    s->parcels.sorted = true;
    return true;
}

static void end_round(simulator *s, message *first, int64_t n) {
    if (!make_room(s, n)) {
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        if (first[i].peer != first[i].rank) {
            send(s, &first[i]);
        }
    }
    take_in(s);
    for (int64_t i = 0; i < n && s->met != NULL; i++) {
        td_sim_greet(&s->run, &first[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        td_sim_receive(&s->run, &first[i]);
    }
    memcpy(s->prev, s->run.now, (size_t)s->run.ranks * sizeof *s->prev);
}

/* ---- all of them ---- */

/* Moves between two ranks that follow each other in a round are one message, where the executor is
 * not followed to the letter. */
static bool keep(simulator *s, const td_move *move) {
    message *last = s->list.n > 0 ? &s->list.at[s->list.n - 1] : NULL;
    if (last != NULL && s->met == NULL && last->round == move->round && last->rank == move->rank &&
        last->peer == move->peer && last->kind == move->kind) {
        last->chunks += move->chunks;
        return true;
    }
    if (s->list.n == s->list.capacity) {
        int64_t capacity = s->list.capacity == 0 ? 4096 : 2 * s->list.capacity;
        message *larger = td_realloc(s->list.at, (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            s->out_of_memory = true;
            return false;
        }
        s->list.at = larger;
        s->list.capacity = capacity;
    }
    s->list.at[s->list.n++] = (message){.round = move->round,
                                        .rank = move->rank,
                                        .peer = move->peer,
                                        .chunks = move->chunks,
                                        .kind = move->kind};
    return true;
}

/* Moves in order of rounds: nothing is kept but the round that is going on. */
static bool take_in_order(void *arg, const td_move *move) {
    simulator *s = arg;
    if (move->round < s->round || !s->sorted) {
        s->sorted = false;
        return false;
    }
    if (move->round > s->round) {
        end_round(s, s->list.at, s->list.n);
        s->list.n = 0;
        s->round = move->round;
    }
    return keep(s, move);
}

static bool take_all(void *arg, const td_move *move) {
    return keep(arg, move);
}

typedef struct count {
    double moves;
    int round;
    bool sorted;
} count;

static bool count_move(void *arg, const td_move *move) {
    count *c = arg;
    c->moves++;
    c->sorted = c->sorted && move->round >= c->round;
    c->round = move->round;
    return true;
}

/* How many moves there are: a row's grow by a power of its ranks, which two small numbers of them
 * show. sorted: they come in order of rounds. */
static td_status estimate(const td_collective *row, int ranks, int segments, count *out) {
    double moves[2];
    for (int i = 0; i < 2; i++) {
        td_moves schedule;
        *out = (count){.sorted = true};
        td_schedule_options options = {.ranks = 64 << i,
                                       .blocks = row->blocks(64 << i),
                                       .segments = segments,
                                       .sink = count_move,
                                       .sink_arg = out};
        TD_TRY(td_schedule_create(&options, row->generate, &schedule));
        td_schedule_destroy(&schedule);
        moves[i] = out->moves;
    }
    out->moves = moves[1] * pow(moves[1] / moves[0], log2(ranks / 128.0));
    return TD_OK;
}

static td_status check_work(const td_collective *row, int ranks, int segments, bool fair) {
    /* 1 GiB of them; where each changes how fast all others go, as many as take a minute. */
    enum { SMALL = 512, MOST_KEPT = 32 << 20, MOST_FAIR = 4 << 20 };
    count moves;
    if (ranks <= SMALL) {
        return TD_OK;
    }
    TD_TRY(estimate(row, ranks, segments, &moves));
    int64_t most = moves.sorted ? TD_SIMULATED_MOST : MOST_KEPT;
    if (moves.moves > (double)(fair ? MOST_FAIR : most)) {
        return td_fail(TD_ESKIP, "%s/%s on %d ranks has some %.1e moves, too many to go through",
                       row->operation, row->algorithm, ranks, moves.moves);
    }
    return TD_OK;
}

static void go_through(simulator *s, message *sorted) {
    for (int64_t i = 0, n; i < s->list.n; i += n) {
        n = 1;
        while (i + n < s->list.n && sorted[i + n].round == sorted[i].round) {
            n++;
        }
        end_round(s, sorted + i, n);
    }
}

/* A stable counting sort, then round by round. */
static td_status run_kept(simulator *s, int rounds) {
    td_status status = TD_OK;
    int64_t *first = td_alloc_zero(((size_t)rounds + 2) * sizeof *first);
    message *sorted = td_alloc(((size_t)s->list.n + 1) * sizeof *sorted);
    if (first == NULL || sorted == NULL) {
        td_free(first);
        td_free(sorted);
        return td_fail(TD_ENOMEM, "a simulation of %lld messages", (long long)s->list.n);
    }
    for (int64_t i = 0; i < s->list.n; i++) {
        first[s->list.at[i].round + 1]++;
    }
    for (int round = 0; round < rounds; round++) {
        first[round + 1] += first[round];
    }
    for (int64_t i = 0; i < s->list.n; i++) {
        sorted[first[s->list.at[i].round]++] = s->list.at[i];
    }
    if (s->run.network->fair) {
        for (int64_t i = 0; i < s->list.n; i++) {
            announce(s, &sorted[i]);
        }
        status = td_sim_fair(&s->run, sorted, s->list.n, &s->result);
    } else {
        go_through(s, sorted);
    }
    td_free(first);
    td_free(sorted);
    return status;
}

static td_status generate(simulator *s, const td_collective *row, int segments, bool in_order,
                          int *rounds) {
    td_moves schedule;
    td_schedule_options options = {.ranks = s->run.ranks,
                                   .blocks = row->blocks(s->run.ranks),
                                   .segments = segments,
                                   .sink = in_order ? take_in_order : take_all,
                                   .sink_arg = s};
    s->run.chunk_bytes /= (double)options.blocks * segments;
    TD_TRY(td_schedule_create(&options, s->run.ranks == 1 ? NULL : row->generate, &schedule));
    *rounds = schedule.rounds;
    td_schedule_destroy(&schedule);
    return TD_OK;
}

static size_t met_bytes(const simulator *s) {
    return ((size_t)s->run.ranks * (size_t)s->run.ranks / 64 + 1) * sizeof *s->met;
}

/* What was gone through in order is forgotten. */
static void start_again(simulator *s) {
    size_t size = (size_t)s->run.ranks * sizeof(double);
    memset(s->prev, 0, size);
    memset(s->run.now, 0, size);
    for (int i = 0; i < s->run.network->levels; i++) {
        memset(s->out_free[i], 0, size);
        memset(s->in_free[i], 0, size);
    }
    if (s->met != NULL) {
        memset(s->met, 0, met_bytes(s));
    }
    s->result = (td_simulation){0};
    s->list.n = 0;
}

static td_status run(simulator *s, const td_collective *row, double bytes) {
    int segments = td_collective_segments(row, (int64_t)bytes / row->blocks(s->run.ranks));
    bool fair = s->run.network->fair;
    TD_TRY(check_work(row, s->run.ranks, segments, fair));
    s->sorted = !fair;
    s->run.chunk_bytes = bytes;
    if (s->sorted) {
        TD_TRY(generate(s, row, segments, true, &s->result.rounds));
    }
    if (s->sorted) {
        end_round(s, s->list.at, s->list.n);
    } else {
        start_again(s);
        s->run.chunk_bytes = bytes;
        TD_TRY(generate(s, row, segments, false, &s->result.rounds));
    }
    if (s->out_of_memory) {
        return td_fail(TD_ENOMEM, "a simulation of %d ranks", s->run.ranks);
    }
    return s->sorted ? TD_OK : run_kept(s, s->result.rounds);
}

static td_status prepare(simulator *s) {
    const td_network *network = s->run.network;
    size_t n = (size_t)s->run.ranks;
    s->prev = td_alloc_zero(n * sizeof *s->prev);
    s->run.now = td_alloc_zero(n * sizeof *s->run.now);
    s->met = network->descriptors ? td_alloc_zero(met_bytes(s)) : NULL;
    bool good = s->prev != NULL && s->run.now != NULL && (s->met != NULL || !network->descriptors);
    for (int i = network->levels - 1, inside = 1; i >= 0; i--) {
        s->unit[i] = td_alloc(n * sizeof **s->unit);
        s->out_free[i] = td_alloc_zero(n * sizeof **s->out_free);
        s->in_free[i] = td_alloc_zero(n * sizeof **s->in_free);
        good = good && s->unit[i] != NULL && s->out_free[i] != NULL && s->in_free[i] != NULL;
        for (int rank = 0; rank < s->run.ranks && good; rank++) {
            s->unit[i][rank] = rank / inside;
        }
        inside *= network->level[i].units;
    }
    return good ? TD_OK : td_fail(TD_ENOMEM, "a simulation of %d ranks", s->run.ranks);
}

static td_status check_sharing(const td_network *network) {
    bool gaps = network->S > 0;
    for (int i = 0; i < network->levels; i++) {
        gaps = gaps || network->level[i].g > 0;
    }
    return !network->fair || !gaps
               ? TD_OK
               : td_fail(TD_EUSAGE, "messages that share links evenly have no g and no rendezvous; "
                                    "expected --rendezvous 0");
}

td_status td_simulate(const td_network *network, const td_collective *row, int ranks, double bytes,
                      td_simulation *out) {
    if (row->direct != NULL) {
        return td_fail(TD_EUSAGE,
                       "%s/%s reads and writes the memory of other ranks; there are no messages "
                       "to simulate",
                       row->operation, row->algorithm);
    }
    if (ranks < 1 || ranks > TD_SIMULATED_RANKS || ranks > td_network_ranks(network)) {
        return td_fail(TD_EUSAGE,
                       "%d ranks; the machine has place for %lld, and %d can be simulated", ranks,
                       (long long)td_network_ranks(network), TD_SIMULATED_RANKS);
    }
    if (!row->fits(ranks)) {
        return td_fail(TD_EUSAGE, "%s/%s is not made for %d ranks", row->operation, row->algorithm,
                       ranks);
    }
    TD_TRY(check_sharing(network));
    simulator s = {.run = {.network = network, .ranks = ranks}};
    s.run.unit = s.unit;
    td_status status = prepare(&s);
    if (status == TD_OK) {
        status = run(&s, row, bytes);
    }
    for (int rank = 0; rank < ranks && status == TD_OK; rank++) {
        s.result.ns = later(s.result.ns, s.run.now[rank]);
    }
    for (int i = 0; i < network->levels; i++) {
        td_free(s.unit[i]);
        td_free(s.out_free[i]);
        td_free(s.in_free[i]);
    }
    td_free(s.met);
    td_free(s.prev);
    td_free(s.run.now);
    td_free(s.list.at);
    td_free(s.parcels.at);
    if (status == TD_OK) {
        *out = s.result;
    }
    return status;
}
