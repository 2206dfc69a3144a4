/* SPDX-License-Identifier: Apache-2.0
 * What machine, system and build a run was made with. Every value was read, none is assumed: what
 * cannot be read is left out.
 */
#ifndef TD_BENCH_FINGERPRINT_H
#define TD_BENCH_FINGERPRINT_H

#include <jansson.h>

#include "base/status.h"
#include "threads/topology.h"

/* The "machine" of a records header: title, summary, odd, hw_id, cpu, isa, topology, memory,
 * kernel, build. hw_id is a hash of what does not change while the machine stays the same. */
td_status td_fingerprint(const td_topology *topology, json_t **out);

/* Where the ranks of MPI run when that is on several hosts: [{"name", "ranks": [0, 1, ...]}, ...]
 * in the order of their first ranks; else NULL. */
json_t *td_fingerprint_hosts(void);

/* The commit of this build: TANDEM_COMMIT of the environment, else what the build recorded. */
const char *td_fingerprint_commit(void);

#endif
