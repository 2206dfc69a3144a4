/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "threads/procfs.h"

static int count_tasks(void) {
    int tid[64];
    return td_proc_tasks(getpid(), tid, 64);
}

static void ring(union sigval value) {
    (void)value;
}

static void *idle(void *arg) {
    (void)arg;
    pause();
    return NULL;
}

void td_concept_hidden_threads(td_lab *lab) {
    int plain = count_tasks();
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = ring};
    timer_t timer;
    td_lab_must(lab, timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "a timer");
    if (lab->mutant) {
        td_lab_thread(lab, idle, NULL);
    }
    int with_timer = count_tasks();
    td_lab_check(lab, with_timer == plain + 1,
                 "timer_create(SIGEV_THREAD): %d thread became %d", plain, with_timer);
    char byte;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct aiocb block = {.aio_fildes = fd, .aio_buf = &byte, .aio_nbytes = 1};
    td_lab_must(lab, aio_read(&block) == 0, "aio_read");
    int with_aio = count_tasks();
    while (aio_error(&block) == EINPROGRESS) {
        aio_suspend((const struct aiocb *const[]){&block}, 1, NULL);
    }
    td_lab_check(lab, with_aio == with_timer + 1, "aio_read: %d became %d", with_timer, with_aio);
    close(fd);
    /* The kernel's list is the truth; what a library calls its threads is a choice. */
    int tid[64], n = td_proc_tasks(getpid(), tid, 64), named = 0;
    for (int i = 0; i < n; i++) {
        td_proc_stat stat;
        named += td_proc_stat_read(getpid(), tid[i], &stat);
    }
    td_lab_check(lab, named == n, "/proc names all %d, none of which this program created", n);
}
