/* SPDX-License-Identifier: Apache-2.0
 * Why a thread could not be created.
 */
#ifndef TD_THREADS_CREATE_H
#define TD_THREADS_CREATE_H

/* error: what pthread_create returned. EPERM, which no manual has, is what some containers answer
 * to clone3: glibc goes back to clone after ENOSYS only. Valid until the thread asks again. */
const char *td_create_error(int error);

/* Whether this process may create threads: 0, or what pthread_create returned in a copy of it, of
 * which nothing is left. */
int td_create_probe(void);

#endif
