/* SPDX-License-Identifier: Apache-2.0
 * The model with links that all messages on them share evenly, as SimGrid's fluid networks have it
 * (max-min fairness: nobody could have more without taking it from one who has less). How fast a
 * message goes depends on what else is on its way, of whatever round, so time passes for all ranks
 * together here, from one beginning or end of a message to the next.
 */
#include <math.h>

#include "base/memory.h"
#include "collectives/comm_state.h"
#include "collectives/loggops_state.h"

/* What a move sends, or the descriptor before it. */
enum { OPEN, SHARES, SETTLED };

typedef struct flow {
    double begins, left, rate; /* ns, bytes, bytes a ns */
    int64_t message, order;
    int out, in; /* links */
    int state;   /* while links are shared out */
    bool greets, ended;
} flow;

typedef struct flow_list {
    flow *at;
    int64_t n, capacity;
} flow_list;

typedef struct link {
    double free;
    int flows;
} link;

/* Messages by rank, in order of rounds. */
typedef struct by_rank {
    int64_t *first, *at; /* those of rank r: at[first[r]] to at[first[r + 1] - 1] */
} by_rank;

typedef struct actor {
    int64_t send, take; /* the next ones */
    int round;
    int64_t missing; /* of this round, on their way */
} actor;

typedef struct fair {
    const td_sim_run *run;
    td_sim_message *messages;
    int64_t n;
    by_rank sends, takes;
    actor *actors;
    link *links;
    int n_links, first_link[TD_NETWORK_LEVELS];
    flow_list waiting; /* a heap: the first to begin is on top */
    flow_list active;
    td_simulation *result;
    bool out_of_memory;
} fair;

/* ---- lists ---- */

static bool grow(fair *s, flow_list *list) {
    if (list->n == list->capacity) {
        int64_t capacity = list->capacity == 0 ? 1024 : 2 * list->capacity;
        flow *larger = td_realloc(list->at, (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            s->out_of_memory = true;
            return false;
        }
        list->at = larger;
        list->capacity = capacity;
    }
    return true;
}

static bool is_before(const flow *a, const flow *b) {
    return a->begins != b->begins ? a->begins < b->begins : a->order < b->order;
}

static void push(fair *s, flow what) {
    flow_list *heap = &s->waiting;
    if (!grow(s, heap)) {
        return;
    }
    int64_t i = heap->n++;
    for (int64_t up = (i - 1) / 2; i > 0 && is_before(&what, &heap->at[up]); up = (i - 1) / 2) {
        heap->at[i] = heap->at[up];
        i = up;
    }
    heap->at[i] = what;
}

static flow pop(flow_list *heap) {
    flow top = heap->at[0], last = heap->at[--heap->n];
    int64_t i = 0;
    for (int64_t down = 1; down < heap->n; down = 2 * i + 1) {
        down += down + 1 < heap->n && is_before(&heap->at[down + 1], &heap->at[down]);
        if (!is_before(&heap->at[down], &last)) {
            break;
        }
        heap->at[i] = heap->at[down];
        i = down;
    }
    heap->at[i] = last;
    return top;
}

static bool sort_by_rank(const fair *s, bool senders, by_rank *out) {
    size_t ranks = (size_t)s->run->ranks;
    int64_t *next = td_alloc_zero((ranks + 1) * sizeof *next);
    out->first = td_alloc_zero((ranks + 1) * sizeof *out->first);
    out->at = td_alloc(((size_t)s->n + 1) * sizeof *out->at);
    bool good = next != NULL && out->first != NULL && out->at != NULL;
    for (int64_t i = 0; i < s->n && good; i++) {
        const td_sim_message *m = &s->messages[i];
        out->first[(senders ? m->peer : m->rank) + 1]++;
    }
    for (size_t r = 0; r < ranks && good; r++) {
        out->first[r + 1] += out->first[r];
        next[r] = out->first[r];
    }
    for (int64_t i = 0; i < s->n && good; i++) {
        const td_sim_message *m = &s->messages[i];
        out->at[next[senders ? m->peer : m->rank]++] = i;
    }
    td_free(next);
    return good;
}

/* ---- what ranks do ---- */

static double bytes_of(const fair *s, const td_sim_message *m) {
    return m->chunks * s->run->chunk_bytes;
}

static int link_of(const fair *s, int level, int rank, bool in) {
    bool shared = s->run->network->level[level].shared;
    int unit = shared ? s->run->unit[level][rank] : rank;
    return s->first_link[level] + 2 * unit + in;
}

static void send(fair *s, int64_t at, double bytes, bool greets) {
    const td_sim_message *m = &s->messages[at];
    int level = td_sim_level(s->run, m->peer, m->rank);
    const td_network_level *l = &s->run->network->level[level];
    double *now = &s->run->now[m->peer];
    *now += l->o + bytes * l->O;
    push(s, (flow){.begins = *now + l->L,
                   .left = l->G > 0 ? bytes : 0,
                   .message = at,
                   .order = s->result->messages,
                   .out = link_of(s, level, m->peer, false),
                   .in = link_of(s, level, m->rank, true),
                   .greets = greets});
    s->result->messages++;
    s->result->bytes += bytes;
}

static void post(fair *s, int rank) {
    actor *a = &s->actors[rank];
    for (; a->send < s->sends.first[rank + 1]; a->send++) {
        int64_t at = s->sends.at[a->send];
        const td_sim_message *m = &s->messages[at];
        if (m->round != a->round) {
            break;
        }
        if (m->peer == m->rank) {
            continue;
        }
        if (m->greets >= 0) {
            send(s, at, (double)sizeof(td_comm_call) + (m->packed ? bytes_of(s, m) : 0), true);
        }
        if (!m->packed) {
            send(s, at, bytes_of(s, m), false);
        }
    }
}

static bool comes(const td_sim_message *m) {
    return m->peer != m->rank;
}

/* Messages of the round that are not there, of [take, *end). */
static int64_t missing(const fair *s, int rank, int64_t *end) {
    const actor *a = &s->actors[rank];
    int64_t n = 0;
    for (*end = a->take; *end < s->takes.first[rank + 1]; (*end)++) {
        const td_sim_message *m = &s->messages[s->takes.at[*end]];
        if (m->round != a->round) {
            break;
        }
        n += comes(m) ? (m->greets == 0) + (!m->packed && m->arrives < 0) : 0;
    }
    return n;
}

static void sort_by_arrival(const fair *s, int64_t *at, int64_t n, bool greets) {
    for (int64_t i = 1; i < n; i++) {
        int64_t what = at[i], j = i;
        const td_sim_message *m = s->messages, *one = &m[what];
        double comes = greets ? one->greets : one->arrives;
        for (; j > 0 && (greets ? m[at[j - 1]].greets : m[at[j - 1]].arrives) > comes; j--) {
            at[j] = at[j - 1];
        }
        at[j] = what;
    }
}

/* Whatever came first is taken first: descriptors, then data. */
static void finish_round(fair *s, int rank, int64_t end) {
    actor *a = &s->actors[rank];
    int64_t *at = s->takes.at + a->take, n = end - a->take;
    sort_by_arrival(s, at, n, true);
    for (int64_t i = 0; i < n; i++) {
        td_sim_greet(s->run, &s->messages[at[i]]);
    }
    sort_by_arrival(s, at, n, false);
    for (int64_t i = 0; i < n; i++) {
        td_sim_receive(s->run, &s->messages[at[i]]);
    }
    a->take = end;
}

/* The next round in which a rank has something to do; false: none. */
static bool next_round(const fair *s, int rank, int *round) {
    const actor *a = &s->actors[rank];
    bool sends = a->send < s->sends.first[rank + 1], takes = a->take < s->takes.first[rank + 1];
    int send = sends ? s->messages[s->sends.at[a->send]].round : 0;
    int take = takes ? s->messages[s->takes.at[a->take]].round : 0;
    *round = !takes || (sends && send < take) ? send : take;
    return sends || takes;
}

/* From the end of a round on, as far as what has come lets it. */
static void go_on(fair *s, int rank) {
    int64_t end;
    while (s->actors[rank].missing == 0 && next_round(s, rank, &s->actors[rank].round)) {
        post(s, rank);
        s->actors[rank].missing = missing(s, rank, &end);
        if (s->actors[rank].missing == 0) {
            finish_round(s, rank, end);
        }
    }
}

static void arrive(fair *s, const flow *f, double now) {
    td_sim_message *m = &s->messages[f->message];
    actor *a = &s->actors[m->rank];
    *(f->greets ? &m->greets : &m->arrives) = now;
    if (a->missing > 0 && a->round == m->round && --a->missing == 0) {
        int64_t end;
        missing(s, m->rank, &end);
        finish_round(s, m->rank, end);
        go_on(s, m->rank);
    }
}

/* ---- what messages do ---- */

/* The least share of a link that somebody still waits for. */
static double least_share(const fair *s) {
    double least = INFINITY;
    for (int64_t i = 0; i < s->active.n; i++) {
        const flow *f = &s->active.at[i];
        if (f->state == OPEN) {
            least = fmin(least, s->links[f->out].free / s->links[f->out].flows);
            least = fmin(least, s->links[f->in].free / s->links[f->in].flows);
        }
    }
    return least;
}

static bool is_full(const link *l, double share) {
    return l->free / l->flows <= share * (1 + 1e-12);
}

static void count_flows(fair *s) {
    for (int i = 0, level = 0; i < s->n_links; i++) {
        while (level + 1 < s->run->network->levels && i >= s->first_link[level + 1]) {
            level++;
        }
        s->links[i] = (link){.free = 1 / s->run->network->level[level].G};
    }
    for (int64_t i = 0; i < s->active.n; i++) {
        flow *f = &s->active.at[i];
        f->state = OPEN;
        s->links[f->out].flows++;
        s->links[f->in].flows++;
    }
}

/* Those on the fullest links get their share of them, and what is left is for the others. Who is
 * on a full link is decided before anything is taken off. */
static void share_links(fair *s) {
    count_flows(s);
    for (int64_t open = s->active.n; open > 0;) {
        double share = least_share(s);
        for (int64_t i = 0; i < s->active.n; i++) {
            flow *f = &s->active.at[i];
            if (f->state == OPEN &&
                (is_full(&s->links[f->out], share) || is_full(&s->links[f->in], share))) {
                f->state = SHARES;
            }
        }
        for (int64_t i = 0; i < s->active.n; i++) {
            flow *f = &s->active.at[i];
            if (f->state == SHARES) {
                f->state = SETTLED;
                f->rate = share;
                s->links[f->out].free -= share;
                s->links[f->in].free -= share;
                s->links[f->out].flows--;
                s->links[f->in].flows--;
                open--;
            }
        }
    }
}

/* When the next of them ends, if no other begins. */
static double next_end(const fair *s, double now) {
    double end = INFINITY;
    for (int64_t i = 0; i < s->active.n; i++) {
        end = fmin(end, now + s->active.at[i].left / s->active.at[i].rate);
    }
    return end;
}

/* What has come at the end of a span; the rest goes on. Ends that rounding alone keeps apart are
 * one. */
static void take_off(fair *s, double span, double now) {
    int64_t kept = 0, n = s->active.n;
    for (int64_t i = 0; i < n; i++) {
        flow *f = &s->active.at[i];
        f->left -= f->rate * span;
        f->ended = f->left <= f->rate * 1e-6;
    }
    for (int64_t i = 0; i < n; i++) {
        flow f = s->active.at[i];
        if (f.ended) {
            arrive(s, &f, now);
        } else {
            s->active.at[kept++] = f;
        }
    }
    s->active.n = kept;
}

static void begin(fair *s, double now) {
    while (s->waiting.n > 0 && s->waiting.at[0].begins <= now && !s->out_of_memory) {
        flow f = pop(&s->waiting);
        if (!(f.left > 0)) {
            arrive(s, &f, now);
        } else if (grow(s, &s->active)) {
            s->active.at[s->active.n++] = f;
        }
    }
}

static void pass_time(fair *s) {
    double now = 0;
    while ((s->waiting.n > 0 || s->active.n > 0) && !s->out_of_memory) {
        double begins = s->waiting.n > 0 ? s->waiting.at[0].begins : INFINITY;
        share_links(s);
        double next = fmin(begins, next_end(s, now));
        take_off(s, next - now, next);
        now = next;
        begin(s, now);
    }
}

/* ---- all of it ---- */

static bool prepare(fair *s) {
    const td_network *network = s->run->network;
    for (int i = 0; i < network->levels; i++) {
        int units = s->run->ranks;
        if (network->level[i].shared) {
            units = s->run->unit[i][s->run->ranks - 1] + 1;
        }
        s->first_link[i] = s->n_links;
        s->n_links += 2 * units;
    }
    s->links = td_alloc_zero((size_t)s->n_links * sizeof *s->links);
    s->actors = td_alloc_zero((size_t)s->run->ranks * sizeof *s->actors);
    bool sorted = sort_by_rank(s, true, &s->sends) && sort_by_rank(s, false, &s->takes);
    for (int64_t i = 0; i < s->n; i++) {
        s->messages[i].arrives = -1;
    }
    for (int rank = 0; rank < s->run->ranks && sorted && s->actors != NULL; rank++) {
        s->actors[rank].send = s->sends.first[rank];
        s->actors[rank].take = s->takes.first[rank];
    }
    return sorted && s->links != NULL && s->actors != NULL;
}

td_status td_sim_fair(const td_sim_run *run, td_sim_message *messages, int64_t n,
                      td_simulation *result) {
    fair s = {.run = run, .messages = messages, .n = n, .result = result};
    s.out_of_memory = !prepare(&s);
    for (int rank = 0; rank < run->ranks && !s.out_of_memory; rank++) {
        go_on(&s, rank);
    }
    if (!s.out_of_memory) {
        pass_time(&s);
    }
    td_free(s.sends.first);
    td_free(s.sends.at);
    td_free(s.takes.first);
    td_free(s.takes.at);
    td_free(s.actors);
    td_free(s.links);
    td_free(s.waiting.at);
    td_free(s.active.at);
    return s.out_of_memory ? td_fail(TD_ENOMEM, "a simulation of %lld messages", (long long)n)
                           : TD_OK;
}
