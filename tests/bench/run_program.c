/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/run_program.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t start_program(const char *const *words, before_fn *before, const void *arg, bool both,
                    int *output) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        if (both) {
            dup2(ends[1], STDERR_FILENO);
        }
        close(ends[0]);
        close(ends[1]);
        if (before != NULL) {
            before(arg);
        }
        execv(words[0], (char *const *)(uintptr_t)words);
        _exit(127);
    }
    cr_assert_gt(pid, 0);
    close(ends[1]);
    *output = ends[0];
    return pid;
}

int run_program(const char *const *words, before_fn *before, const void *arg, td_text *out) {
    int output, status;
    pid_t pid = start_program(words, before, arg, true, &output);
    char part[4096];
    *out = (td_text){0};
    td_text_puts(out, ""); /* so that there is a text, if only an empty one */
    for (ssize_t got; (got = read(output, part, sizeof part)) > 0;) {
        td_text_append(out, part, (size_t)got);
    }
    close(output);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "%s died of signal %d: %s", words[0], WTERMSIG(status), out->data);
    return WEXITSTATUS(status);
}

pid_t plant_program(const char *const *words) {
    int output;
    char line[16];
    pid_t pid = start_program(words, NULL, NULL, false, &output);
    cr_assert_gt(read(output, line, sizeof line), 0, "%s did not start", words[0]);
    close(output);
    return pid;
}

void uproot_program(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
