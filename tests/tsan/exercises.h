/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TD_TESTS_TSAN_EXERCISES_H
#define TD_TESTS_TSAN_EXERCISES_H

#include "base/status.h"

/* TD_OK, or td_fail with what was wrong. */
typedef td_status td_exercise_fn(void);

#define TD_EXERCISE(name) td_exercise_fn td_exercise_##name;
#include "tests/tsan/exercises.inc"
#undef TD_EXERCISE

#endif
