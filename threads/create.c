/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/create.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const char *td_create_error(int error) {
    return error == EPERM ? "Operation not permitted (clone3 refused with EPERM instead of ENOSYS)"
                          : strerror(error);
}

static void *nothing(void *arg) {
    return arg;
}

int td_create_probe(void) {
    int how = 0;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, nothing, NULL);
        if (error == 0) {
            pthread_join(thread, NULL);
        }
        _exit(error);
    }
    if (pid < 0) {
        return errno;
    }
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(how) ? WEXITSTATUS(how) : EINTR;
}
