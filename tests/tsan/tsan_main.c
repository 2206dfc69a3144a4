/* SPDX-License-Identifier: Apache-2.0
 * The concurrent parts under ThreadSanitizer: a plain program, because Criterion cannot run under
 * it. In other builds it is a short stress test of the same code.
 *
 * One row of the table is one exercise: it returns TD_OK or says what was wrong. The sanitizer adds
 * its own verdict: any report makes the program end with a failure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tsan/exercises.h"

/* name, function: td_exercise_<name> */
static const struct {
    const char *name;
    td_exercise_fn *run;
} exercises[] = {
#define TD_EXERCISE(name) {#name, td_exercise_##name},
#include "tests/tsan/exercises.inc"
#undef TD_EXERCISE
};
enum { N_EXERCISES = sizeof exercises / sizeof exercises[0] };

/* Usage: tsan_runner [NAME]: one exercise, or all. */
int main(int argc, char **argv) {
    int passed = 0, failed = 0;
    for (int i = 0; i < N_EXERCISES; i++) {
        if (argc > 1 && strcmp(argv[1], exercises[i].name) != 0) {
            continue;
        }
        td_status status = exercises[i].run();
        if (status == TD_OK) {
            printf("ok %s\n", exercises[i].name);
            passed++;
        } else {
            printf("FAILED %s: %s: %s\n", exercises[i].name, td_status_name(status), td_error());
            failed++;
        }
        fflush(stdout);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
