/* SPDX-License-Identifier: Apache-2.0
 * What reading and parsing of the data path are timed beside: protobuf-c on the same records,
 * loaded at run time where it was installed when this was built, and never needed.
 */
#ifndef TD_BENCH_EXAMPLE_PEER_H
#define TD_BENCH_EXAMPLE_PEER_H

#include "bench/case.h"
#include "data/example.h"

/* Adds protobuf-c as a companion: skipped, with the reason, where it is not there. */
void td_example_peer_add(td_bench *bench);

/* Sets it aside unless every record, parsed and serialised again, is what it was. */
void td_example_peer_verify(td_bench *bench, int companion, const td_span *records, int64_t n);

/* Parses records to messages in memory that is taken again for each of them, which spares the peer
 * the allocations a program would make. */
void td_example_peer_parse(const td_span *records, int64_t n);

#endif
