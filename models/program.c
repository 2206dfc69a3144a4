/* SPDX-License-Identifier: Apache-2.0 */
#include "models/program.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/grain.h"
#include "threads/range.h"

typedef enum node_kind {
    NODE_KERNEL,
    NODE_CALL,
    NODE_EACH,
    NODE_COLLECTIVE,
    NODE_BARRIER
} node_kind;

typedef struct node {
    node_kind kind;
    int phase;
    char name[TD_NODE_NAME];
    const char *family, *part;
    double flops, bytes;  /* of one run, or, when varied, of all runs */
    int64_t tiles, grain; /* tiles that share what is prepared for them */
    bool varied;
    int turn; /* its place among the ops of its phase */
    td_op_id op;
    size_t args; /* offset into the program's arguments, which move while the program grows */
    td_call_fn *call;
    td_each_fn *each;
    void *call_arg;
    const td_collective *collective;
    td_comm *comm;
    td_call exchange;
} node;

/* Eight bytes of some op's arguments that are read anew for every run. */
typedef struct variation {
    size_t at; /* in the program's arguments */
    const void *source;
    int node;
} variation;

/* What one worker writes while it runs, on cache lines of its own: of every node the ticks it took,
 * those of waiting behind it where a phase ends, and when it started and ended last; then the ticks
 * from the start of runs to their end. */
typedef struct clockwork {
    uint64_t *ticks;
    int64_t stride; /* uint64 per worker */
} clockwork;

typedef struct own_clock {
    uint64_t *work, *wait, *start, *end, *span;
} own_clock;

struct td_program {
    node *nodes;
    int n_nodes, node_capacity;
    unsigned char *args;
    size_t args_bytes, args_capacity;
    variation *variations;
    int n_variations;
    size_t variation_bytes;
    const char *part; /* of ops to be added */
    int n_phases;     /* after finish: phases that hold an op, numbered without gaps */
    bool out_of_memory;
    int workers;
    td_range *ranges; /* of worker w and node i: w * n_nodes + i */
    clockwork clock;
    int64_t runs;
    uint64_t run_ticks;
    td_status status; /* of the current run, written by worker 0 */
};

static own_clock clock_of(const td_program *program, int worker) {
    uint64_t *ticks = program->clock.ticks + program->clock.stride * worker;
    int64_t n = program->n_nodes;
    return (own_clock){ticks, ticks + n, ticks + 2 * n, ticks + 3 * n, ticks + 4 * n};
}

td_status td_program_create(td_program **out) {
    td_program *program = td_alloc_zero(sizeof(*program));
    if (program == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a program");
    }
    program->part = "";
    *out = program;
    return TD_OK;
}

void td_program_destroy(td_program *program) {
    if (program != NULL) {
        td_free(program->nodes);
        td_free(program->args);
        td_free(program->variations);
        td_free(program->ranges);
        td_free(program->clock.ticks);
        td_free(program);
    }
}

void td_program_clear(td_program *program) {
    program->n_nodes = 0;
    program->args_bytes = 0;
    program->n_variations = 0;
    program->part = "";
    program->n_phases = 0;
    program->out_of_memory = false;
}

/* Makes room for one more element; the old block stays when memory runs out. */
static bool grow(void **block, size_t needed, size_t *capacity) {
    if (needed <= *capacity) {
        return true;
    }
    size_t larger = *capacity * 2 < needed ? needed * 2 : *capacity * 2;
    void *moved = td_realloc(*block, larger);
    if (moved == NULL) {
        return false;
    }
    *block = moved;
    *capacity = larger;
    return true;
}

/* NULL when memory ran out, now or before. */
static node *add_node(td_program *program, int phase, node_kind kind, const char *family,
                      const char *name) {
    TD_ASSERT(phase >= 0);
    size_t capacity = (size_t)program->node_capacity * sizeof(node);
    if (program->out_of_memory ||
        !grow((void **)&program->nodes, (size_t)(program->n_nodes + 1) * sizeof(node), &capacity)) {
        program->out_of_memory = true;
        return NULL;
    }
    program->node_capacity = (int)(capacity / sizeof(node));
    node *added = &program->nodes[program->n_nodes++];
    *added = (node){.kind = kind, .phase = phase, .family = family, .part = program->part};
    snprintf(added->name, sizeof(added->name), "%s", name);
    return added;
}

const char *td_program_part(td_program *program, const char *part) {
    const char *before = program->part;
    program->part = part;
    return before;
}

int td_program_kernel(td_program *program, int phase, td_op_id op, const void *args,
                      const char *family, const char *name) {
    node *added = add_node(program, phase, NODE_KERNEL, family, name);
    /* Arguments hold pointers and 64-bit numbers; 16 keeps each copy aligned for any of them. */
    size_t size = (td_ops[op].args_bytes + 15) / 16 * 16;
    if (added == NULL ||
        !grow((void **)&program->args, program->args_bytes + size, &program->args_capacity)) {
        program->out_of_memory = true;
        return phase + 1;
    }
    added->op = op;
    added->args = program->args_bytes;
    memcpy(program->args + program->args_bytes, args, td_ops[op].args_bytes);
    program->args_bytes += size;
    added->tiles = td_ops[op].tiles(args);
    added->grain = td_kernel_grain(op, args);
    added->flops = td_ops[op].flops(args);
    added->bytes = td_ops[op].bytes(args);
    return phase + 1;
}

void td_program_vary(td_program *program, size_t offset, const void *source) {
    size_t needed = (size_t)(program->n_variations + 1) * sizeof(variation);
    if (program->out_of_memory ||
        !grow((void **)&program->variations, needed, &program->variation_bytes)) {
        program->out_of_memory = true;
        return;
    }
    int last = program->n_nodes - 1;
    TD_ASSERT(last >= 0 && program->nodes[last].kind == NODE_KERNEL);
    program->variations[program->n_variations++] =
        (variation){program->nodes[last].args + offset, source, last};
    program->nodes[last].varied = true;
}

int td_program_call(td_program *program, int phase, td_call_fn *fn, void *arg, const char *name) {
    node *added = add_node(program, phase, NODE_CALL, "scalar", name);
    if (added != NULL) {
        added->call = fn;
        added->call_arg = arg;
    }
    return phase + 1;
}

int td_program_each(td_program *program, int phase, td_each_fn *fn, void *arg, const char *family,
                    const char *name) {
    node *added = add_node(program, phase, NODE_EACH, family, name);
    if (added != NULL) {
        added->each = fn;
        added->call_arg = arg;
    }
    return phase + 1;
}

int td_program_end_of(const td_program *program, const char *part, const char *prefix) {
    int end = 0;
    for (int i = 0; i < program->n_nodes; i++) {
        const node *n = &program->nodes[i];
        if (n->phase >= end && strcmp(n->part, part) == 0 &&
            strncmp(n->name, prefix, strlen(prefix)) == 0) {
            end = n->phase + 1;
        }
    }
    return end;
}

int td_program_collective(td_program *program, int phase, const td_collective *collective,
                          td_comm *comm, void *buffer, int64_t count, const char *name) {
    td_call call = {.in = buffer, .out = buffer, .count = count, .dtype = TD_F32};
    return td_program_exchange(program, phase, collective, comm, &call, name);
}

int td_program_exchange(td_program *program, int phase, const td_collective *collective,
                        td_comm *comm, const td_call *call, const char *name) {
    node *added = add_node(program, phase, NODE_COLLECTIVE, "collective", name);
    if (added != NULL) {
        added->collective = collective;
        added->comm = comm;
        added->exchange = *call;
        added->bytes = (double)(call->count * td_dtype_bytes(call->dtype));
    }
    return phase + 1;
}

int td_program_barrier(td_program *program, int phase, td_comm *comm, const char *name) {
    node *added = add_node(program, phase, NODE_BARRIER, "collective", name);
    if (added != NULL) {
        added->comm = comm;
    }
    return phase + 1;
}

/* Where each op goes: a counting sort, which keeps the order in which ops of one phase were added.
 * place has an element for every op and one for every phase and the end. */
static void find_places(const td_program *program, int phases, int *place) {
    int *next = place + program->n_nodes;
    memset(next, 0, (size_t)(phases + 1) * sizeof(*next));
    for (int i = 0; i < program->n_nodes; i++) {
        next[program->nodes[i].phase + 1]++;
    }
    for (int phase = 0; phase < phases; phase++) {
        next[phase + 1] += next[phase];
    }
    for (int i = 0; i < program->n_nodes; i++) {
        place[i] = next[program->nodes[i].phase]++;
    }
}

static bool sort_by_phase(td_program *program) {
    int phases = 0;
    for (int i = 0; i < program->n_nodes; i++) {
        phases = program->nodes[i].phase >= phases ? program->nodes[i].phase + 1 : phases;
    }
    int *place = td_alloc((size_t)(program->n_nodes + phases + 2) * sizeof(*place));
    node *sorted = td_alloc((size_t)(program->node_capacity + 1) * sizeof(*sorted));
    if (place == NULL || sorted == NULL) {
        td_free(place);
        td_free(sorted);
        return false;
    }
    find_places(program, phases, place);
    for (int i = 0; i < program->n_nodes; i++) {
        sorted[place[i]] = program->nodes[i];
    }
    for (int i = 0; i < program->n_variations; i++) {
        program->variations[i].node = place[program->variations[i].node];
    }
    td_free(place);
    td_free(program->nodes);
    program->nodes = sorted;
    return true;
}

static void number_phases(td_program *program) {
    int phase = -1, last = -1;
    for (int i = 0; i < program->n_nodes; i++) {
        if (program->nodes[i].phase != last) {
            last = program->nodes[i].phase;
            phase++;
        }
        bool first = i == 0 || program->nodes[i - 1].phase != phase;
        program->nodes[i].phase = phase;
        program->nodes[i].turn = first ? 0 : program->nodes[i - 1].turn + 1;
    }
    program->n_phases = phase + 1;
}

/* The first call of a kind would allocate. Without a communicator, a program is only sized. */
static td_status plan_collectives(td_program *program) {
    for (int i = 0; i < program->n_nodes; i++) {
        const node *n = &program->nodes[i];
        if (n->comm != NULL && (n->kind == NODE_COLLECTIVE || n->kind == NODE_BARRIER)) {
            const td_collective *row = n->kind == NODE_BARRIER ? td_barrier_row() : n->collective;
            TD_TRY(td_collective_prepare(row, n->comm, &n->exchange));
        }
    }
    return TD_OK;
}

td_status td_program_finish(td_program *program, int workers) {
    if (program->out_of_memory || !sort_by_phase(program)) {
        return td_fail(TD_ENOMEM, "no memory for a program of %d ops", program->n_nodes);
    }
    TD_TRY(plan_collectives(program));
    number_phases(program);
    program->workers = workers;
    program->clock.stride =
        (4 * program->n_nodes + 1 + 7) / 8 * 8 + 8; /* whole lines, one more between workers */
    td_free(program->clock.ticks);
    program->clock.ticks =
        td_alloc_zero((size_t)(program->clock.stride * workers) * sizeof(uint64_t));
    td_free(program->ranges);
    program->ranges = td_alloc((size_t)(program->n_nodes * workers + 1) * sizeof(td_range));
    program->runs = 0;
    program->run_ticks = 0;
    if (program->clock.ticks == NULL || program->ranges == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a program of %d ops", program->n_nodes);
    }
    return TD_OK;
}

int64_t td_program_scratch_bytes(const td_program *program) {
    int64_t most = 0;
    for (int i = 0; i < program->n_nodes; i++) {
        if (program->nodes[i].kind == NODE_KERNEL) {
            int64_t bytes =
                td_ops[program->nodes[i].op].scratch(program->args + program->nodes[i].args);
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

/* Ops with fewer tiles than workers take turns: otherwise the same workers would get all of them,
 * and both directions of a loss, one tile each, would be done by one. Larger ops keep the plain
 * share, so that a worker finds rows in its cache that it has written. */
static void deal_share(td_range *range, const node *n, int id, int count) {
    td_worker worker = {.id = n->tiles < count ? (id + n->turn) % count : id, .count = count};
    int64_t first, last;
    td_worker_share(&worker, n->tiles, &first, &last);
    td_range_deal(range, first, last);
}

/* Before the workers start, so that nobody finds the range of a run before. */
static void deal_tiles(td_program *program) {
    for (int worker = 0; worker < program->workers; worker++) {
        td_range *own = program->ranges + (int64_t)worker * program->n_nodes;
        for (int i = 0; i < program->n_nodes; i++) {
            deal_share(&own[i], &program->nodes[i], worker, program->workers);
        }
    }
}

/* Runs the tiles of node i that are left in the share of `owner`. */
static bool run_tiles(td_program *program, int i, int owner, td_worker *worker) {
    const node *n = &program->nodes[i];
    td_range *range = &program->ranges[(int64_t)owner * program->n_nodes + i];
    const td_portions of = {.tiles = n->tiles, .grain = n->grain, .workers = program->workers};
    bool any = false;
    for (int64_t first, last; td_range_take(range, &of, owner != worker->id, &first, &last);) {
        td_ops[n->op].run(program->args + n->args, first, last, worker->scratch);
        any = true;
    }
    return any;
}

static td_status run_node(td_program *program, int i, td_worker *worker) {
    const node *n = &program->nodes[i];
    switch (n->kind) {
    case NODE_KERNEL:
        run_tiles(program, i, worker->id, worker);
        return TD_OK;
    case NODE_CALL:
        if (worker->id == 0) {
            n->call(n->call_arg);
        }
        return TD_OK;
    case NODE_EACH:
        return n->each(n->call_arg, worker);
    case NODE_COLLECTIVE:
        return td_collective_run(n->collective, n->comm, worker, &n->exchange);
    case NODE_BARRIER:
        return td_barrier(n->comm, worker);
    }
    return TD_OK;
}

/* Does what other workers have left of the phase that ends with node `last`. The bar of an op in
 * the timeline grows only where this follows it without a gap. */
static uint64_t help_others(td_program *program, int last, td_worker *worker, own_clock *own,
                            uint64_t now) {
    for (int i = last - program->nodes[last].turn; i <= last; i++) {
        for (int step = 1; step < worker->count && program->nodes[i].kind == NODE_KERNEL; step++) {
            if (run_tiles(program, i, (worker->id + step) % worker->count, worker)) {
                uint64_t after = td_tsc();
                own->work[i] += after - now;
                own->end[i] = own->end[i] == now ? after : own->end[i];
                now = after;
            }
        }
    }
    return now;
}

static void run_region(void *arg, td_worker *worker) {
    td_program *program = arg;
    own_clock own = clock_of(program, worker->id);
    const uint64_t first = td_tsc();
    uint64_t now = first;
    for (int i = 0; i < program->n_nodes; i++) {
        own.start[i] = now;
        td_status status = run_node(program, i, worker);
        uint64_t after = td_tsc();
        own.work[i] += after - now;
        own.end[i] = now = after;
        if (status != TD_OK) {
            /* Every worker of the rank has the same status from the same collective, so all leave
             * here. */
            if (worker->id == 0) {
                program->status = status;
            }
            break;
        }
        bool ends_phase =
            i + 1 < program->n_nodes && program->nodes[i + 1].phase != program->nodes[i].phase;
        if (ends_phase || i + 1 == program->n_nodes) {
            now = help_others(program, i, worker, &own, now);
        }
        if (ends_phase) {
            td_team_barrier(worker);
            after = td_tsc();
            own.wait[i] += after - now;
            now = after;
        }
    }
    *own.span += now - first;
}

/* Brings arguments that vary up to date, with the tiles and costs that follow from them. An op's
 * costs are counted with its first variation; all of them have been copied by then. */
static void take_variations(td_program *program) {
    for (int i = 0; i < program->n_variations; i++) {
        const variation *v = &program->variations[i];
        memcpy(program->args + v->at, v->source, sizeof(int64_t));
    }
    for (int i = 0; i < program->n_variations; i++) {
        node *n = &program->nodes[program->variations[i].node];
        if (i > 0 && program->variations[i - 1].node == program->variations[i].node) {
            continue;
        }
        const void *args = program->args + n->args;
        n->tiles = td_ops[n->op].tiles(args);
        n->grain = td_kernel_grain(n->op, args);
        n->flops = td_ops[n->op].flops(args) + (program->runs > 0 ? n->flops : 0);
        n->bytes = td_ops[n->op].bytes(args) + (program->runs > 0 ? n->bytes : 0);
    }
}

td_status td_program_run(td_program *program, td_team *team) {
    TD_ASSERT(td_team_size(team) == program->workers);
    program->status = TD_OK;
    take_variations(program);
    deal_tiles(program);
    uint64_t start = td_tsc();
    td_team_run(team, run_region, program);
    program->run_ticks += td_tsc() - start;
    program->runs++;
    return program->status;
}

int td_program_ops(const td_program *program) {
    return program->n_nodes;
}

static double ticks_to_ns(const td_program *program, uint64_t ticks) {
    return program->runs == 0 ? 0 : (double)ticks / td_tsc_hz() * 1e9 / (double)program->runs;
}

/* A sum over runs as the mean of one. */
static double per_run(const td_program *program, const node *n, double sum) {
    return n->varied && program->runs > 0 ? sum / (double)program->runs : sum;
}

/* Of all workers. */
static uint64_t work_of(const td_program *program, int i, uint64_t *most) {
    uint64_t sum = 0;
    *most = 0;
    for (int worker = 0; worker < program->workers; worker++) {
        uint64_t ticks = clock_of(program, worker).work[i];
        *most = ticks > *most ? ticks : *most;
        sum += ticks;
    }
    return sum;
}

/* What workers waited for the phase of op i, and the work of its ops. */
static void sum_phase(const td_program *program, int i, uint64_t *wait, uint64_t *work) {
    int first = i - program->nodes[i].turn;
    *wait = *work = 0;
    for (int k = first; k < program->n_nodes && program->nodes[k].phase == program->nodes[i].phase;
         k++) {
        uint64_t most;
        *work += work_of(program, k, &most);
        for (int worker = 0; worker < program->workers; worker++) {
            *wait += clock_of(program, worker).wait[k];
        }
    }
}

void td_program_op_cost(const td_program *program, int i, td_op_cost *out) {
    const node *n = &program->nodes[i];
    uint64_t most, sum = work_of(program, i, &most), phase_wait, phase_work;
    sum_phase(program, i, &phase_wait, &phase_work);
    double share = phase_work > 0 ? (double)sum / (double)phase_work : 0;
    *out = (td_op_cost){.name = n->name,
                        .family = n->family,
                        .part = n->part,
                        .phase = n->phase,
                        .tiles = n->tiles,
                        .flops = per_run(program, n, n->flops),
                        .bytes = per_run(program, n, n->bytes),
                        .ns_max = ticks_to_ns(program, most),
                        .ns_sum = ticks_to_ns(program, sum),
                        .wait_ns = ticks_to_ns(program, phase_wait) / program->workers * share};
}

/* ---- ops alone ---- */

typedef struct alone {
    td_program *program;
    int op;
} alone;

static void run_op_alone(void *arg, td_worker *worker) {
    const alone *a = arg;
    for (int step = 0; step < worker->count; step++) {
        run_tiles(a->program, a->op, (worker->id + step) % worker->count, worker);
    }
}

double td_program_time_op(td_program *program, td_team *team, int i) {
    alone a = {program, i};
    TD_ASSERT(program->nodes[i].kind == NODE_KERNEL);
    deal_tiles(program);
    uint64_t start = td_tsc();
    td_team_run(team, run_op_alone, &a);
    return (double)(td_tsc() - start) / td_tsc_hz() * 1e9;
}

enum { BARRIERS = 200 };

static void run_barriers(void *arg, td_worker *worker) {
    (void)arg;
    for (int i = 0; i < BARRIERS; i++) {
        td_team_barrier(worker);
    }
}

double td_program_time_barrier(td_team *team) {
    uint64_t start = td_tsc();
    td_team_run(team, run_barriers, NULL);
    return (double)(td_tsc() - start) / td_tsc_hz() * 1e9 / BARRIERS;
}

const void *td_program_op_args(const td_program *program, int i, td_op_id *op) {
    const node *n = &program->nodes[i];
    *op = n->op;
    return n->kind == NODE_KERNEL ? program->args + n->args : NULL;
}

void td_program_op_span(const td_program *program, int i, int worker, uint64_t *start,
                        uint64_t *end) {
    own_clock own = clock_of(program, worker);
    *start = own.start[i];
    *end = own.end[i];
}

void td_program_worker_ticks(const td_program *program, int worker, td_worker_ticks *out) {
    own_clock own = clock_of(program, worker);
    *out = (td_worker_ticks){.span = *own.span};
    for (int i = 0; i < program->n_nodes; i++) {
        out->work += own.work[i];
        out->wait += own.wait[i];
    }
}

void td_program_total_cost(const td_program *program, td_program_cost *out) {
    *out = (td_program_cost){.runs = program->runs,
                             .phases = program->n_phases,
                             .ops = program->n_nodes,
                             .ns = ticks_to_ns(program, program->run_ticks)};
    for (int i = 0; i < program->n_nodes; i++) {
        const node *n = &program->nodes[i];
        out->flops += per_run(program, n, n->flops);
        out->bytes += per_run(program, n, n->bytes);
    }
    for (int worker = 0; worker < program->workers; worker++) {
        td_worker_ticks ticks;
        td_program_worker_ticks(program, worker, &ticks);
        out->wait_ns += ticks_to_ns(program, ticks.wait) / program->workers;
    }
}

void td_program_reset_cost(td_program *program) {
    memset(program->clock.ticks, 0,
           (size_t)(program->clock.stride * program->workers) * sizeof(uint64_t));
    program->runs = 0;
    program->run_ticks = 0;
}
