/* SPDX-License-Identifier: Apache-2.0
 * Programs: a training step, or a forward pass, as data. A program is an array of ops grouped in
 * phases: ops of one phase do not depend on each other, and a team barrier stands between phases.
 * An op is a kernel: every worker of the team runs its share of the op's tiles, and at the end of a
 * phase helps those that have not begun all of theirs; a collective: every worker of every rank
 * calls it (it starts and ends with a barrier of its own); a call: a small function that worker 0
 * runs: scalars, pointers, nothing that takes time. The runner times every op on every worker and
 * every wait, so a step's time by op needs no further instrument. A run allocates nothing.
 */
#ifndef TD_MODELS_PROGRAM_H
#define TD_MODELS_PROGRAM_H

#include <stdint.h>

#include "base/status.h"
#include "collectives/comm.h"
#include "kernels/kernel.h"
#include "threads/team.h"

typedef struct td_program td_program; /* opaque: being built, then run */

enum { TD_NODE_NAME = 40 };

typedef void td_call_fn(void *arg);

td_status td_program_create(td_program **out);
void td_program_destroy(td_program *program);

/* Empties the program, for building it again with other pointers. Keeps its memory. */
void td_program_clear(td_program *program);

/* Ops added from now on belong to a part of the whole, "image_forward", for who asks where the time
 * goes; at first to none, "". The text stays with the caller. Returns the part until now. */
const char *td_program_part(td_program *program, const char *part);

/* Ops are added to a phase by number, in any order of phases: two chains of ops can be built one
 * after the other from the same first phase, and then share phases. Each returns the phase after
 * it, where an op that needs its result may stand. args is copied; family groups ops in reports
 * ("gemm", "attention", "layernorm"). Running out of memory is remembered and returned by
 * td_program_finish. */
int td_program_kernel(td_program *program, int phase, td_op_id op, const void *args,
                      const char *family, const char *name);
int td_program_call(td_program *program, int phase, td_call_fn *fn, void *arg, const char *name);
int td_program_collective(td_program *program, int phase, const td_collective *collective,
                          td_comm *comm, void *buffer, int64_t count, const char *name);
/* Any call; what it points to must stay. */
int td_program_exchange(td_program *program, int phase, const td_collective *collective,
                        td_comm *comm, const td_call *call, const char *name);
/* A function that every worker calls, at its turn in the phase: a collective that is spread over
 * phases. A status other than TD_OK must be the same in all workers. */
typedef td_status td_each_fn(void *arg, td_worker *worker);
int td_program_each(td_program *program, int phase, td_each_fn *fn, void *arg, const char *family,
                    const char *name);
int td_program_barrier(td_program *program, int phase, td_comm *comm, const char *name);

/* kernel row `op` with named arguments; the designated initialisers are checked against the op's
 * own type. */
#define TD_PROGRAM_ADD(program, phase, op, family, name, ...)                                      \
    td_program_kernel((program), (phase), TD_OP_##op, &(td_##op##_args){__VA_ARGS__}, (family),    \
                      (name))

/* An argument of the kernel op added last that changes from run to run: 8 bytes, an int64_t or a
 * pointer, at `offset` of its arguments are copied from `source` when a run starts. Tiles and costs
 * follow; scratch does not, so the op is added with the largest value there will be. */
void td_program_vary(td_program *program, size_t offset, const void *source);

/* The phase after the last op so far that belongs to a part and whose name begins with prefix; 0
 * when there is none. */
int td_program_end_of(const td_program *program, const char *part, const char *prefix);

/* Orders ops by phase, drops empty phases, and sizes the statistics for a team. */
td_status td_program_finish(td_program *program, int workers);

/* Scratch that one worker needs for any op of the program. */
int64_t td_program_scratch_bytes(const td_program *program);

/* Runs the whole program once on the team, in one region. */
td_status td_program_run(td_program *program, td_team *team);

/* What one op cost since creation or the last reset. */
typedef struct td_op_cost {
    const char *name, *family, *part;
    int phase;
    int64_t tiles;
    double flops, bytes; /* of one run; the mean where they vary, the largest before the first */
    double ns_max;       /* of the slowest worker, per run */
    double ns_sum;       /* of all workers, per run */
    double wait_ns;      /* per run, mean over workers: its part of the wait that ends its phase,
                            shared among the phase's ops as their work is */
} td_op_cost;

typedef struct td_program_cost {
    int64_t runs;
    int phases, ops;
    double flops, bytes; /* of one run, all ops */
    double ns;           /* of one run, as worker 0 saw it */
    double wait_ns;      /* of one run: mean over workers of time at phase barriers */
} td_program_cost;

/* Op i of [0, td_program_ops) in order of phases. */
int td_program_ops(const td_program *program);
void td_program_op_cost(const td_program *program, int i, td_op_cost *out);
void td_program_total_cost(const td_program *program, td_program_cost *out);
void td_program_reset_cost(td_program *program);

/* Nanoseconds of op i, a kernel, run once on the whole team when nothing else runs. It writes what
 * the op writes, with the arguments of the last run. */
double td_program_time_op(td_program *program, td_team *team, int i);

/* Nanoseconds of one barrier between phases when nobody is late. */
double td_program_time_barrier(td_team *team);

/* The kernel and arguments of op i; NULL when it is none. */
const void *td_program_op_args(const td_program *program, int i, td_op_id *op);

/* When a worker ran op i in the last run, as td_tsc. */
void td_program_op_span(const td_program *program, int i, int worker, uint64_t *start,
                        uint64_t *end);

/* A worker's ticks of all runs since creation or the last reset: at ops, at the barriers between
 * phases, and from the start of runs to their end. The first two make up the third, to the tick. */
typedef struct td_worker_ticks {
    uint64_t work, wait, span;
} td_worker_ticks;
void td_program_worker_ticks(const td_program *program, int worker, td_worker_ticks *out);

#endif
