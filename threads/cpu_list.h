/* SPDX-License-Identifier: Apache-2.0
 * CPUs by their numbers of the operating system: as a set, and as the lists people write
 * ("0-3,8-11:2": from 8 to 11 in steps of 2). The order of a list counts: it is the order of
 * workers.
 */
#ifndef TD_THREADS_CPU_LIST_H
#define TD_THREADS_CPU_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { TD_MAX_PUS = 4096 };

typedef struct td_cpu_mask {
    unsigned long bits[TD_MAX_PUS / (8 * sizeof(unsigned long))];
} td_cpu_mask;

/* False when the number does not fit a mask: such a CPU cannot exist on a machine that td_topology
 * accepts. */
bool td_cpu_mask_add(td_cpu_mask *mask, int cpu);
bool td_cpu_mask_has(const td_cpu_mask *mask, int cpu);
bool td_cpu_mask_empty(const td_cpu_mask *mask);
int td_cpu_mask_count(const td_cpu_mask *mask);
/* The only CPU of a set of one; -1 for any other set. */
int td_cpu_mask_only(const td_cpu_mask *mask);
void td_cpu_mask_intersect(td_cpu_mask *mask, const td_cpu_mask *with);

/* Reads `length` characters: numbers and ranges, separated by commas or blanks. TD_EUSAGE says what
 * is wrong; more than `most` CPUs is wrong too. An empty list is 0 CPUs. */
td_status td_cpu_list_parse(const char *text, size_t length, int most, int *cpu, int *count);

/* The same as a set; what is not a list of known CPUs is TD_EUSAGE. */
td_status td_cpu_mask_parse(const char *text, td_cpu_mask *out);

/* In the given order, runs that ascend by one as ranges: {0,1,2,8} is "0-2,8". Returns the
 * characters of the whole list, as snprintf. */
int td_cpu_list_print(const int *cpu, int count, char *text, size_t bytes);
int td_cpu_mask_print(const td_cpu_mask *mask, char *text, size_t bytes);

/* Hexadecimal with 0x in front, for mpirun, srun and taskset: {0,2} is "0x5". Returns as snprintf.
 */
int td_cpu_mask_print_hex(const td_cpu_mask *mask, char *text, size_t bytes);

#endif
