/* SPDX-License-Identifier: Apache-2.0
 * A stretch of a file mapped into memory, populated at once: reading a cached file this way costs
 * no copy. A file that becomes shorter meanwhile would end the process with SIGBUS; the pages that
 * are gone read as zeros instead, and td_file_window_lost says so. (The handler passes on what is
 * not its own.)
 */
#ifndef TD_DATA_FILE_WINDOW_H
#define TD_DATA_FILE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialise to start. */
typedef struct td_file_window {
    const uint8_t *data; /* of byte `start` of the file */
    int64_t start, bytes;
    void *base; /* page-aligned */
    int64_t base_bytes;
    int slot; /* among those the handler knows, + 1; 0: none */
} td_file_window;

/* Maps [start, start + bytes) in place of what was mapped. False when it cannot be mapped, or when
 * too many windows are open: read the file instead. */
bool td_file_window_map(td_file_window *window, int fd, int64_t start, int64_t bytes);
void td_file_window_unmap(td_file_window *window);
bool td_file_window_lost(const td_file_window *window);

#endif
