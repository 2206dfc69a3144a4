/* SPDX-License-Identifier: Apache-2.0 */
#include "base/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

td_progress td_progress_start(void) {
    int64_t now = td_now_ns();
    return (td_progress){.start_ns = now, .last_ns = now, .enabled = isatty(STDERR_FILENO) == 1};
}

void td_progress_show(td_progress *progress, double share, const char *format, ...) {
    int64_t now = td_now_ns();
    if (!progress->enabled || (progress->drawn && now - progress->last_ns < 100000000)) {
        return;
    }
    progress->last_ns = now;
    progress->drawn = true;
    char text[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    double spent = (double)(now - progress->start_ns) * 1e-9;
    if (share > 0.01) {
        double left = spent / share - spent;
        fprintf(stderr, "\r\033[K%3.0f %%  %d:%02d left  %s", 100 * share, (int)left / 60,
                (int)left % 60, text);
    } else {
        fprintf(stderr, "\r\033[K%3.0f %%  %s", 100 * share, text);
    }
    fflush(stderr);
}

void td_progress_clear(td_progress *progress) {
    if (progress != NULL && progress->drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->drawn = false;
    }
}

void td_note(td_progress *progress, const char *format, ...) {
    td_progress_clear(progress);
    fputs("tandem: ", stderr);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}
