/* SPDX-License-Identifier: Apache-2.0
 * Layouts in the words of others: lines that start a program under the same binding with mpirun,
 * srun, OpenMP's variables or hwloc-bind, and the layout that their variables ask for.
 */
#ifndef TD_THREADS_LAYOUT_FOREIGN_H
#define TD_THREADS_LAYOUT_FOREIGN_H

#include "base/text.h"
#include "threads/layout.h"

/* form: mpirun, srun, omp or hwloc-bind. Appends lines that a shell takes, COMMAND standing for the
 * program; omp and hwloc-bind: a line a rank. TD_EUSAGE for another form and for a layout that does
 * not fit the machine. */
td_status td_layout_export(const char *form, const td_layout *layout, const td_topology *topology,
                           td_text *out);

/* The layout that the environment's variables of Slurm, Open MPI, MPICH and OpenMP ask for on this
 * machine, ranks as processes, which Tandem starts itself. used (may be NULL) gets the variables
 * that decided, separated by commas. TD_EUSAGE when there are none, or names the variable that asks
 * for something a layout cannot say. */
td_status td_layout_import(const td_topology *topology, td_layout *out, td_text *used);

/* As td_layout_parse; "env" is td_layout_import. */
td_status td_layout_read(const char *text, const td_topology *topology, td_layout *out);

#endif
