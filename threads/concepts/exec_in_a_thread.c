/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "threads/procfs.h"

static int out_fd;
static bool fork_first;

static void *wait_for_ever(void *arg) {
    (void)arg;
    pause();
    return NULL;
}

static void *exec(void *arg) {
    (void)arg;
    if (fork_first && fork() != 0) {
        pause();
    }
    dup2(out_fd, 1);
    execl("/bin/sh", "sh", "-c", "echo $$; ls /proc/$$/task | wc -l", (char *)NULL);
    _exit(1);
}

static void become(td_lab *lab, void *arg) {
    (void)arg;
    td_lab_thread(lab, wait_for_ever, NULL);
    td_lab_thread(lab, exec, NULL);
    pause();
}

void td_concept_exec_in_a_thread(td_lab *lab) {
    int ends[2];
    char text[64] = "";
    td_lab_must(lab, pipe(ends) == 0, "a pipe");
    out_fd = ends[1];
    fork_first = lab->mutant;
    pid_t pid = td_lab_fork(lab, become, NULL);
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got; strchr(text, '\n') == strrchr(text, '\n') && used < sizeof text - 1; ) {
        got = read(ends[0], text + used, sizeof text - 1 - used);
        if (got <= 0) {
            break;
        }
        used += (size_t)got;
    }
    char *rest = text;
    long seen = strtol(text, &rest, 10), tasks = strtol(rest, NULL, 10);
    td_lab_check(lab, seen == pid,
                 "the program that a thread started runs as process %ld, the one it was: %d", seen,
                 pid);
    td_lab_check(lab, tasks == 1, "of three threads %ld is left", tasks);
}
