/* SPDX-License-Identifier: Apache-2.0
 * Progress on stderr: one line that is redrawn on a terminal, silent otherwise. Results never go
 * here.
 */
#ifndef TD_BASE_PROGRESS_H
#define TD_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct td_progress {
    int64_t start_ns, last_ns;
    bool enabled, drawn;
} td_progress;

td_progress td_progress_start(void);

/* share in [0, 1]; text says what runs now. Redraws at most 10 times a second; shows share and time
 * left. */
void td_progress_show(td_progress *progress, double share, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Clears the line, so that the next message starts clean. */
void td_progress_clear(td_progress *progress);

/* A line on stderr, whatever the terminal: warnings and notes. Clears a drawn progress line first
 * if given. */
void td_note(td_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
