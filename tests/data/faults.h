/* SPDX-License-Identifier: Apache-2.0
 * Faults on demand: the linker's --wrap sends reads, mappings of files and allocations of the test
 * program through here (see CMakeLists.txt). Without a fault they do what they always do.
 */
#ifndef TD_TESTS_DATA_FAULTS_H
#define TD_TESTS_DATA_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

/* read and pread give at most so many bytes, 0: as many as asked for; every other call is
 * interrupted first. */
void td_test_short_reads(int64_t most);

/* The n-th read or pread from now on, from 0, fails with EIO, and all after it; negative: none. */
void td_test_fail_read(int64_t n);
bool td_test_read_failed(void);

/* Files are not mapped, but read. */
void td_test_forbid_mapping(bool forbid);

/* The n-th allocation from now on fails, once; negative: none. */
void td_test_fail_allocation(int64_t n);
bool td_test_allocation_failed(void);

/* Blocks allocated and not freed. */
int64_t td_test_live_blocks(void);

#endif
