/* SPDX-License-Identifier: Apache-2.0 */
#include "reports/memory_map.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "reports/table.h"

enum { MOST = 24, WIDTH = 360, LEFT = 84, HEAD = 34, GAP = 12, PLACES = 160 };

typedef struct mapping {
    uint64_t address;
    int64_t kib;
    char rights[8], file[48];
    char places[PLACES]; /* without the thread's number */
    int thread;          /* the one it belongs to; -1: all use it */
} mapping;

static const char OF_THE_THREAD[] = " of the thread";

/* "errno of the thread 2, local variable 2" to "errno, local variable" and 2: the picture says
 * which are a thread's. */
static void strip_thread(mapping *m, const char *places) {
    size_t used = 0;
    m->thread = -1;
    for (const char *at = places; *at != '\0' && used + 1 < sizeof m->places; at++) {
        if (at[0] == ' ' && isdigit((unsigned char)at[1]) && (at[2] == ',' || at[2] == '\0')) {
            m->thread = at[1] - '0';
            at++;
        } else if (strncmp(at, OF_THE_THREAD, strlen(OF_THE_THREAD)) == 0) {
            at += strlen(OF_THE_THREAD) - 1;
        } else {
            m->places[used++] = *at;
        }
    }
    m->places[used] = '\0';
}

static bool parse(const char *line, mapping *out) {
    char places[PLACES];
    if (line == NULL || line[0] != '|' ||
        sscanf(line, "| %" SCNx64 " %" SCNd64 " KiB %7s %47[^:]: %159[^\n]", &out->address,
               &out->kib, out->rights, out->file, places) != 5) {
        return false;
    }
    strip_thread(out, places);
    return true;
}

/* Grows by a fixed amount as the size doubles: 12 KiB and 8 MiB must both be seen. */
static int height_of(const mapping *m) {
    return HEAD + (int)lround(2.5 * log2((double)m->kib + 1));
}

static const char *last_part(const char *file) {
    const char *slash = strrchr(file, '/');
    return slash != NULL ? slash + 1 : file;
}

static void write_mapping(td_text *out, const mapping *m, int y) {
    td_text_printf(out,
                   "<text class=\"soft\" x=\"0\" y=\"%d\">%" PRIx64 "</text>"
                   "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>",
                   y + height_of(m), m->address, m->thread < 0 ? "shared" : "own", LEFT, y,
                   WIDTH - LEFT - 1, height_of(m));
    td_text_printf(out, "<text x=\"%d\" y=\"%d\">", LEFT + 8, y + 15);
    td_html_escape(out, m->places);
    td_text_printf(out, "</text><text class=\"soft\" x=\"%d\" y=\"%d\">", LEFT + 8, y + 28);
    if (m->thread >= 0) {
        td_text_printf(out, "thread %d, ", m->thread);
    }
    td_text_printf(out, "%" PRId64 " KiB ", m->kib);
    td_html_escape(out, m->rights);
    td_text_puts(out, " ");
    td_html_escape(out, last_part(m->file));
    td_text_puts(out, "</text>\n");
}

void td_memory_map_html(td_text *out, const json_t *account) {
    mapping map[MOST];
    int n = 0, height = 0;
    for (size_t i = 0; i < json_array_size(account) && n < MOST; i++) {
        if (parse(json_string_value(json_array_get(account, i)), &map[n])) {
            height += height_of(&map[n++]) + GAP;
        }
    }
    if (n == 0) {
        return;
    }
    td_text_puts(out, "<div class=\"grids\"><figure class=\"grid map\"><figcaption>The memory of a "
                      "process with three threads, from /proc, the highest address on top. "
                      "<b class=\"shared\">Blue</b>: one for all threads; <b class=\"own\">orange"
                      "</b>: one thread's own, though the others can read it too. A forked child "
                      "starts with the same map over memory of its own.</figcaption>\n");
    td_text_printf(out,
                   "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%d mappings of a process "
                   "and its threads; the table below holds the same\">\n",
                   WIDTH, height, n);
    for (int i = n - 1, y = 1; i >= 0; i--) {
        write_mapping(out, &map[i], y);
        y += height_of(&map[i]) + GAP;
    }
    td_text_puts(out, "</svg></figure></div>\n");
}
