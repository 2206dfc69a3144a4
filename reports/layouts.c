/* SPDX-License-Identifier: Apache-2.0
 * The machine of a run as boxes, once for each layout, with ranks in colour on the CPUs where they
 * were found. A first pass measures every box, a second draws it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reports/sections.h"

/* Units of a picture are pixels at its natural width, which fits a phone. */
enum {
    WIDTH = 298,
    LINE = 14,    /* of text */
    LETTER = 8,   /* an upper bound of one in a worker's mark */
    PAD = 6,      /* inside a box, and between boxes */
    ROW = 20,     /* a PU */
    NUMBER = 22,  /* of a PU, before its workers */
    MOST_LAYOUTS = 12,
    MARK_BYTES = 48,
    COLORS = 6
};

/* One layout: which workers were found on which PU. */
typedef struct placement {
    const char *layout, *binding; /* "0,2|4,*": the PU of each worker, rank by rank */
    int ranks, unbound;
    int mark_letters; /* of the longest list of workers on one PU */
} placement;

typedef struct painter {
    const placement *on;
    td_text *out; /* NULL while measuring */
    int core_width;
} painter;

typedef struct extent {
    int width, height;
} extent;

/* The workers on a PU, "r0w1,r0w3"; the rank of the first, -1: none. */
static int workers_on(const placement *on, int pu, char text[MARK_BYTES]) {
    int rank = 0, worker = 0, first = -1;
    size_t used = 0;
    text[0] = '\0';
    for (const char *at = on->binding; *at != '\0'; worker++) {
        char *end = NULL;
        long found = *at == '*' ? -1 : strtol(at, &end, 10);
        at = *at == '*' ? at + 1 : end;
        if (found == pu && used < MARK_BYTES - 16) {
            used += (size_t)snprintf(text + used, MARK_BYTES - used, "%s", used > 0 ? "," : "");
            if (on->ranks > 1) {
                used += (size_t)snprintf(text + used, MARK_BYTES - used, "r%d", rank);
            }
            used += (size_t)snprintf(text + used, MARK_BYTES - used, "w%d", worker);
            first = first < 0 ? rank : first;
        }
        if (*at == '|') {
            rank++;
            worker = -1;
        }
        at += *at == '|' || *at == ',';
    }
    return first;
}

static void put_text(const painter *p, int x, int y, const char *text) {
    td_text_printf(p->out, "<text x=\"%d\" y=\"%d\">", x, y);
    td_html_escape(p->out, text);
    td_text_puts(p->out, "</text>");
}

static void put_rect(const painter *p, int x, int y, int width, int height) {
    td_text_printf(p->out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\"/>", x, y,
                   width, height);
}

static int mark_width(const placement *on) {
    return on->mark_letters * LETTER + PAD;
}

/* A core: its PUs one below the other, each with its number and its workers. */
static extent draw_core(painter *p, const json_t *core, int x, int y) {
    const json_t *pus = json_object_get(core, "pus");
    extent e = {NUMBER + mark_width(p->on) + 2 * PAD, (int)json_array_size(pus) * ROW + PAD};
    if (p->out == NULL) {
        return e;
    }
    put_rect(p, x, y, e.width, e.height);
    for (size_t i = 0; i < json_array_size(pus); i++) {
        char number[16], mark[MARK_BYTES];
        int pu = (int)json_integer_value(json_array_get(pus, i));
        int rank = workers_on(p->on, pu, mark), top = y + PAD / 2 + (int)i * ROW;
        snprintf(number, sizeof number, "%d", pu);
        put_text(p, x + PAD, top + LINE, number);
        if (rank < 0) {
            td_text_printf(p->out, "<circle class=\"idle\" cx=\"%d\" cy=\"%d\" r=\"1.5\"/>",
                           x + PAD + NUMBER + LETTER, top + ROW / 2);
            continue;
        }
        td_text_printf(p->out, "<g class=\"r%d\">", rank % COLORS);
        put_rect(p, x + PAD + NUMBER, top + 2, mark_width(p->on), ROW - 4);
        put_text(p, x + PAD + NUMBER + PAD / 2, top + LINE, mark);
        td_text_puts(p->out, "</g>");
    }
    return e;
}

static extent draw_box(painter *p, const json_t *box, int x, int y, int columns);

static extent draw_any(painter *p, const json_t *object, int x, int y, int columns) {
    return json_object_get(object, "pus") != NULL ? draw_core(p, object, x, y)
                                                  : draw_box(p, object, x, y, columns);
}

/* What is inside, side by side, in as many rows as the width asks for. */
static extent draw_inside(painter *p, const json_t *inside, int x, int y, int columns) {
    extent all = {0, 0};
    int at = 0, row = 0;
    td_text *out = p->out;
    for (size_t i = 0; i < json_array_size(inside); i++) {
        const json_t *object = json_array_get(inside, i);
        p->out = NULL;
        extent e = draw_any(p, object, 0, 0, columns);
        p->out = out;
        if (at > 0 && at + e.width > columns) {
            all.height += row + PAD;
            at = row = 0;
        }
        if (out != NULL) {
            draw_any(p, object, x + at, y + all.height, columns);
        }
        row = e.height > row ? e.height : row;
        at += e.width + PAD;
        all.width = at - PAD > all.width ? at - PAD : all.width;
    }
    all.height += row;
    return all;
}

static extent draw_box(painter *p, const json_t *box, int x, int y, int columns) {
    const char *label = td_json_text(box, "label", "");
    extent inside = draw_inside(p, json_object_get(box, "inside"), x + PAD, y + LINE + PAD,
                                columns - 2 * PAD);
    int title = (int)strlen(label) * (LETTER - 1);
    extent e = {(inside.width > title ? inside.width : title) + 2 * PAD,
                inside.height + LINE + 2 * PAD};
    e.width = e.width < columns ? e.width : columns > inside.width ? columns : inside.width;
    if (p->out != NULL) {
        put_rect(p, x, y, e.width, e.height);
        put_text(p, x + PAD, y + LINE, label);
    }
    return e;
}

static void measure_marks(const json_t *object, placement *on) {
    const json_t *pus = json_object_get(object, "pus"), *inside = json_object_get(object, "inside");
    for (size_t i = 0; i < json_array_size(pus); i++) {
        char mark[MARK_BYTES];
        workers_on(on, (int)json_integer_value(json_array_get(pus, i)), mark);
        on->mark_letters =
            (int)strlen(mark) > on->mark_letters ? (int)strlen(mark) : on->mark_letters;
    }
    for (size_t i = 0; i < json_array_size(inside); i++) {
        measure_marks(json_array_get(inside, i), on);
    }
}

static void draw_layout(const json_t *tree, placement *on, td_text *out) {
    painter p = {.on = on};
    measure_marks(tree, on);
    extent e = draw_box(&p, tree, 0, 0, WIDTH - 2);
    int width = e.width + 2 > WIDTH ? e.width + 2 : WIDTH;
    td_text_puts(out, "<figure class=\"grid places\"><figcaption>");
    td_html_escape(out, on->layout);
    if (on->unbound > 0) {
        td_text_printf(out, ": %d workers not bound", on->unbound);
    }
    td_text_printf(out, "</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width,
                   e.height + 2);
    td_html_escape(out, on->layout);
    td_text_puts(out, ", the PU of each worker, rank by rank: ");
    td_html_escape(out, on->binding);
    td_text_puts(out, "\">");
    p.out = out;
    draw_box(&p, tree, 1, 1, WIDTH - 2);
    td_text_puts(out, "</svg></figure>\n");
}

static bool is_drawn(const placement *drawn, int n, const char *layout) {
    for (int i = 0; i < n; i++) {
        if (strcmp(drawn[i].layout, layout) == 0) {
            return true;
        }
    }
    return false;
}

void td_layouts_draw(const td_facts *facts, td_text *out) {
    const json_t *tree = json_object_get(facts->machine, "tree");
    placement drawn[MOST_LAYOUTS];
    int n = 0;
    for (int i = 0; i < facts->n_rows && tree != NULL && n < MOST_LAYOUTS; i++) {
        const td_fact *fact = &facts->rows[i];
        const char *binding = td_json_text(fact->json, "binding", "");
        if (!fact->own || binding[0] == '\0' || is_drawn(drawn, n, fact->layout)) {
            continue;
        }
        placement *on = &drawn[n];
        *on = (placement){
            .layout = fact->layout, .binding = binding, .ranks = 1, .mark_letters = 2};
        for (const char *at = binding; *at != '\0'; at++) {
            on->ranks += *at == '|';
            on->unbound += *at == '*';
        }
        if (n++ == 0) {
            td_text_puts(out, "<p>Where ranks (r) and workers (w) of each layout ran, as the "
                              "system told afterwards; a number is a PU.</p>\n<div "
                              "class=\"grids\">\n");
        }
        draw_layout(tree, on, out);
    }
    if (n > 0) {
        td_text_puts(out, "</div>\n");
    }
}

/* "rank 3", "ranks 0-2, 5" */
static void put_ranks(const json_t *ranks, td_text *out) {
    size_t n = json_array_size(ranks);
    td_text_puts(out, n == 1 ? "rank " : "ranks ");
    for (size_t i = 0, end; i < n; i = end) {
        long long first = json_integer_value(json_array_get(ranks, i));
        for (end = i + 1; end < n && json_integer_value(json_array_get(ranks, end)) ==
                                         first + (long long)(end - i);) {
            end++;
        }
        td_text_printf(out, "%s%lld", i > 0 ? ", " : "", first);
        if (end - i > 1) {
            td_text_printf(out, "-%lld", first + (long long)(end - i) - 1);
        }
    }
}

void td_hosts_tell(const td_facts *facts, td_text *out) {
    const json_t *hosts = json_object_get(facts->run, "hosts");
    size_t n = json_array_size(hosts);
    for (size_t i = 0; i < n; i++) {
        const json_t *host = json_array_get(hosts, i);
        if (i == 0) {
            td_text_printf(out, "The ranks of MPI ran on %zu hosts: ", n);
        }
        td_text_printf(out, "%s%s (", i > 0 ? ", " : "", td_json_text(host, "name", "?"));
        put_ranks(json_object_get(host, "ranks"), out);
        td_text_puts(out, ")");
    }
    td_text_puts(out, n > 0 ? ". The machine above and where workers were bound are those of "
                              "rank 0's host; rows over hosts have no roof of memory."
                            : "");
}
