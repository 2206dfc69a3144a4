/* SPDX-License-Identifier: Apache-2.0
 * Makes the creation of a chosen thread fail, and counts threads that nobody has joined: the
 * linker's --wrap sends every pthread_create and pthread_join of the test program through here (see
 * CMakeLists.txt).
 */
#ifndef TD_TESTS_THREADS_FAIL_CREATE_H
#define TD_TESTS_THREADS_FAIL_CREATE_H

/* Lets `allowed` more threads be created, then refuses with EAGAIN; negative: all are allowed. */
void td_test_allow_threads(int allowed);

/* Threads created and not joined so far. */
int td_test_unjoined_threads(void);

#endif
