/* SPDX-License-Identifier: Apache-2.0
 * The machine as boxes of text: a first pass measures every object, a second draws it on a grid of
 * cells.
 */
#include <hwloc.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "threads/topology.h"

enum { LABEL_BYTES = 128, GAP = 2, DEFAULT_COLUMNS = 100 };

/* One cell holds one character of UTF-8, and the colour of the rank it belongs to (0: none). */
typedef struct cell {
    char utf8[5];
    unsigned char color;
} cell;

typedef struct canvas {
    cell *cells; /* NULL while measuring */
    int width, height;
} canvas;

typedef struct painter {
    const td_topology *topology;
    const td_topology_drawing *drawing;
    canvas canvas;
    int cell_width; /* of the widest core, so that cores stand in columns */
    int mark_width; /* of the widest list of workers on one PU */
} painter;

typedef struct extent {
    int width, height;
} extent;

static void put(canvas *c, int x, int y, const char *text, unsigned char color) {
    for (const char *at = text; *at; x++) {
        int length = 1;
        while ((at[length] & 0xC0) == 0x80) {
            length++;
        }
        if (c->cells && x < c->width && y < c->height && length < 5) {
            cell *here = &c->cells[y * c->width + x];
            memcpy(here->utf8, at, (size_t)length);
            here->utf8[length] = '\0';
            here->color = color;
        }
        at += length;
    }
}

/* Characters, not bytes: what put() advances by. */
static int text_width(const char *text) {
    int width = 0;
    for (; *text; text++) {
        width += (*text & 0xC0) != 0x80;
    }
    return width;
}

static void box(canvas *c, int x, int y, extent e, const char *title) {
    for (int i = 1; i < e.width - 1; i++) {
        put(c, x + i, y, "─", 0);
        put(c, x + i, y + e.height - 1, "─", 0);
    }
    for (int i = 1; i < e.height - 1; i++) {
        put(c, x, y + i, "│", 0);
        put(c, x + e.width - 1, y + i, "│", 0);
    }
    put(c, x, y, "╭", 0);
    put(c, x + e.width - 1, y, "╮", 0);
    put(c, x, y + e.height - 1, "╰", 0);
    put(c, x + e.width - 1, y + e.height - 1, "╯", 0);
    put(c, x + 2, y, " ", 0);
    put(c, x + 3, y, title, 0);
    put(c, x + 3 + text_width(title), y, " ", 0);
}

static void print_bytes(char *text, size_t size, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    while (bytes >= 1024 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, size, "%.4g %s", bytes, units[unit]);
}

static bool plausible(const painter *p, int level) {
    const td_topology_info *info = td_topology_get_info(p->topology);
    for (int i = 0; i < info->n_caches; i++) {
        if (info->caches[i].level == level && !info->caches[i].instruction) {
            return info->caches[i].plausible;
        }
    }
    return true;
}

/* "package 0 · NUMA node 0 (15 GiB)", "L3 32 MiB". */
static void label(const painter *p, hwloc_obj_t object, char text[LABEL_BYTES]) {
    char bytes[32];
    int used = 0;
    if (hwloc_obj_type_is_dcache(object->type)) {
        used = snprintf(text, LABEL_BYTES, "L%u", object->attr->cache.depth);
        if (object->attr->cache.size) {
            print_bytes(bytes, sizeof(bytes), (double)object->attr->cache.size);
            used +=
                snprintf(text + used, LABEL_BYTES - (size_t)used, " %s%s", bytes,
                         plausible(p, (int)object->attr->cache.depth) ? "" : " (not plausible)");
        }
    } else if (object->type == HWLOC_OBJ_MACHINE) {
        used = snprintf(text, LABEL_BYTES, "machine");
    } else {
        const char *name = object->type == HWLOC_OBJ_PACKAGE ? "package"
                           : object->type == HWLOC_OBJ_DIE   ? "die"
                                                             : "group";
        used = snprintf(text, LABEL_BYTES, "%s %u", name, object->logical_index);
    }
    for (hwloc_obj_t node = object->memory_first_child; node && used < LABEL_BYTES;
         node = node->next_sibling) {
        if (node->type == HWLOC_OBJ_NUMANODE) {
            print_bytes(bytes, sizeof(bytes), (double)node->attr->numanode.local_memory);
            used += snprintf(text + used, LABEL_BYTES - (size_t)used, " · NUMA node %u, %s",
                             node->logical_index, bytes);
        }
    }
}

/* A core's own caches and groups that only hwloc sees say nothing a reader needs here. */
static bool worth_a_box(hwloc_obj_t object) {
    if (object->type == HWLOC_OBJ_PACKAGE || object->type == HWLOC_OBJ_DIE ||
        object->memory_arity) {
        return true;
    }
    bool shared = object->first_child && hwloc_bitmap_weight(object->cpuset) > 2;
    return hwloc_obj_type_is_dcache(object->type) &&
           (object->attr->cache.depth >= 3 || (object->attr->cache.depth == 2 && shared));
}

/* "r0w1", "w1" when there is one rank; several workers of one PU are joined by commas. */
static int worker_text(const painter *p, unsigned pu, char text[LABEL_BYTES]) {
    const td_topology_drawing *d = p->drawing;
    int used = 0, rank_of_first = -1;
    text[0] = '\0';
    for (int i = 0; d->pu && i < d->n_workers && used < LABEL_BYTES - 16; i++) {
        if (d->pu[i] != (int)pu) {
            continue;
        }
        int rank = i / d->workers_per_rank;
        used += snprintf(text + used, LABEL_BYTES - (size_t)used, "%s", used ? "," : "");
        if (d->n_workers > d->workers_per_rank) {
            used += snprintf(text + used, LABEL_BYTES - (size_t)used, "r%d", rank);
        }
        used += snprintf(text + used, LABEL_BYTES - (size_t)used, "w%d", i % d->workers_per_rank);
        rank_of_first = rank_of_first < 0 ? rank : rank_of_first;
    }
    return rank_of_first;
}

/* A core is one line: "core 3   6 w3  7 ·". PUs that no worker takes show a dot in a drawing of a
 * layout. */
static extent draw_core(painter *p, hwloc_obj_t core, int x, int y) {
    char text[LABEL_BYTES], workers[LABEL_BYTES], number[24];
    int at = x;
    if (core->type == HWLOC_OBJ_CORE) {
        snprintf(text, sizeof(text), "core %-3u", core->logical_index);
        put(&p->canvas, at, y, text, 0);
        at += text_width(text);
    }
    for (int next = hwloc_bitmap_first(core->cpuset); next >= 0;
         next = hwloc_bitmap_next(core->cpuset, next)) {
        unsigned id = (unsigned)next;
        int rank = worker_text(p, id, workers);
        snprintf(number, sizeof(number), " PU %-2u", id);
        put(&p->canvas, at, y, number, 0);
        at += text_width(number);
        if (p->drawing->pu) {
            const char *mark = rank >= 0 ? workers : "·";
            put(&p->canvas, at + 1, y, mark, (unsigned char)(rank >= 0 ? 1 + rank % 6 : 0));
            at += 1 + p->mark_width;
        }
    }
    return (extent){at - x, 1};
}

static bool is_leaf(hwloc_obj_t object) {
    return object->type == HWLOC_OBJ_CORE || object->type == HWLOC_OBJ_PU;
}

/* Leaves below an object that gets no box of its own are drawn as if they were its parent's. */
static int gather(hwloc_obj_t object, hwloc_obj_t *out) {
    int n = 0;
    for (unsigned i = 0; i < object->arity; i++) {
        hwloc_obj_t child = object->children[i];
        if (is_leaf(child) || worth_a_box(child)) {
            if (out) {
                out[n] = child;
            }
            n++;
        } else {
            n += gather(child, out ? out + n : NULL);
        }
    }
    return n;
}

static extent draw_box(painter *p, hwloc_obj_t object, int x, int y, int columns);

static extent draw_any(painter *p, hwloc_obj_t object, int x, int y, int columns) {
    if (is_leaf(object)) {
        return (extent){p->cell_width, draw_core(p, object, x, y).height};
    }
    return draw_box(p, object, x, y, columns);
}

/* Children side by side, in as many rows as the width asks for. */
static extent draw_children(painter *p, hwloc_obj_t *children, int n, int x, int y, int columns) {
    extent all = {0, 0};
    int at = 0, row_height = 0;
    canvas real = p->canvas;
    for (int i = 0; i < n; i++) {
        p->canvas.cells = NULL;
        extent e = draw_any(p, children[i], 0, 0, columns);
        p->canvas = real;
        int gap = is_leaf(children[i]) ? GAP + 1 : GAP;
        if (at > 0 && at + e.width > columns) {
            all.height += row_height;
            at = row_height = 0;
        }
        if (p->canvas.cells) {
            draw_any(p, children[i], x + at, y + all.height, columns);
        }
        row_height = e.height > row_height ? e.height : row_height;
        all.width = at + e.width > all.width ? at + e.width : all.width;
        at += e.width + gap;
    }
    all.height += row_height;
    return all;
}

static extent draw_box(painter *p, hwloc_obj_t object, int x, int y, int columns) {
    char title[LABEL_BYTES];
    label(p, object, title);
    int n = gather(object, NULL);
    hwloc_obj_t *children = td_alloc((size_t)(n > 0 ? n : 1) * sizeof(hwloc_obj_t));
    if (!children) {
        return (extent){0, 0};
    }
    gather(object, children);
    extent inside = draw_children(p, children, n, x + 2, y + 1, columns - 4);
    td_free(children);
    extent e = {inside.width + 4, inside.height + 2};
    e.width = text_width(title) + 6 > e.width ? text_width(title) + 6 : e.width;
    box(&p->canvas, x, y, e, title);
    return e;
}

static void walk(const painter *p, hwloc_obj_t object, const td_topology_visitor *visitor,
                 void *arg) {
    enum { MOST_PUS = 16 };
    if (is_leaf(object)) {
        int pu[MOST_PUS], n = 0;
        for (int next = hwloc_bitmap_first(object->cpuset); next >= 0 && n < MOST_PUS;
             next = hwloc_bitmap_next(object->cpuset, next)) {
            pu[n++] = next;
        }
        visitor->core(arg, object->type == HWLOC_OBJ_CORE ? (int)object->logical_index : -1, pu, n);
        return;
    }
    bool boxed = object->parent == NULL || worth_a_box(object);
    if (boxed) {
        char title[LABEL_BYTES];
        label(p, object, title);
        visitor->enter(arg, title);
    }
    for (unsigned i = 0; i < object->arity; i++) {
        walk(p, object->children[i], visitor, arg);
    }
    if (boxed) {
        visitor->leave(arg);
    }
}

void td_topology_walk(const td_topology *topology, const td_topology_visitor *visitor, void *arg) {
    painter p = {.topology = topology};
    walk(&p, hwloc_get_root_obj(td_topology_tree(topology)), visitor, arg);
}

static void emit(const painter *p, FILE *out) {
    static const char *const colors[] = {"",         "\033[34m", "\033[33m", "\033[32m",
                                         "\033[35m", "\033[36m", "\033[31m"};
    const canvas *c = &p->canvas;
    for (int y = 0; y < c->height; y++) {
        int last = c->width - 1;
        while (last >= 0 && c->cells[y * c->width + last].utf8[0] == '\0') {
            last--;
        }
        unsigned char color = 0;
        for (int x = 0; x <= last; x++) {
            const cell *here = &c->cells[y * c->width + x];
            if (p->drawing->color && here->color != color) {
                fputs(here->color ? colors[here->color] : "\033[0m", out);
            }
            color = here->color;
            fputs(here->utf8[0] ? here->utf8 : " ", out);
        }
        fputs(p->drawing->color && color ? "\033[0m\n" : "\n", out);
    }
}

td_status td_topology_print(const td_topology *topology, const td_topology_drawing *drawing,
                            FILE *out) {
    painter p = {.topology = topology, .drawing = drawing};
    hwloc_topology_t tree = td_topology_tree(topology);
    char mark[LABEL_BYTES];
    p.mark_width = 1;
    for (int i = 0; drawing->pu && i < drawing->n_workers; i++) {
        worker_text(&p, (unsigned)drawing->pu[i], mark);
        p.mark_width = text_width(mark) > p.mark_width ? text_width(mark) : p.mark_width;
    }
    hwloc_obj_type_t leaf =
        hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    for (hwloc_obj_t core = NULL; (core = hwloc_get_next_obj_by_type(tree, leaf, core));) {
        int width = draw_core(&p, core, 0, 0).width;
        p.cell_width = width > p.cell_width ? width : p.cell_width;
    }
    int columns = drawing->columns > 0 ? drawing->columns : DEFAULT_COLUMNS;
    extent e = draw_box(&p, hwloc_get_root_obj(tree), 0, 0, columns);
    p.canvas = (canvas){td_alloc_zero((size_t)e.width * (size_t)e.height * sizeof(cell)), e.width,
                        e.height};
    if (!p.canvas.cells) {
        return td_fail(TD_ENOMEM, "a drawing of %d x %d cells", e.width, e.height);
    }
    draw_box(&p, hwloc_get_root_obj(tree), 0, 0, columns);
    emit(&p, out);
    td_free(p.canvas.cells);
    return TD_OK;
}
