/* SPDX-License-Identifier: Apache-2.0 */
#include "data/synth.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/math.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/text.h"

typedef struct colour {
    unsigned char rgb[3];
} colour;

/* Hues that a caption names and that stand out against every background below. */
// clang-format off
static const struct {
    const char *name;
    colour value;
} hues[] = {
    {"red",    {{218,  38,  38}}}, {"orange", {{244, 136,  20}}}, {"yellow", {{250, 222,  40}}},
    {"green",  {{ 46, 158,  58}}}, {"blue",   {{ 36,  84, 220}}}, {"purple", {{132,  52, 178}}},
    {"pink",   {{252, 132, 190}}}, {"brown",  {{132,  78,  40}}},
};
// clang-format on
enum { N_HUES = sizeof hues / sizeof hues[0] };

/* Discs and rings are measured by radius and a cross has corners of its own. Other shapes are
 * regular polygons whose first corner is `turn` half-turns from the right; a star's every second
 * corner is drawn in to `inner`. */
typedef enum curve { CURVE_NONE, CURVE_DISC, CURVE_RING, CURVE_CROSS } curve;

// clang-format off
static const struct {
    const char *name, *plural;
    curve curve;
    int corners;
    double inner, turn;
} shapes[] = {
    {"circle",   "circles",   CURVE_DISC,   0, 0.0,   0.0},
    {"ring",     "rings",     CURVE_RING,   0, 0.0,   0.0},
    {"square",   "squares",   CURVE_NONE,   4, 0.0,   0.25},
    {"diamond",  "diamonds",  CURVE_NONE,   4, 0.0,   0.0},
    {"triangle", "triangles", CURVE_NONE,   3, 0.0,  -0.5},
    {"hexagon",  "hexagons",  CURVE_NONE,   6, 0.0,   0.0},
    {"star",     "stars",     CURVE_NONE,  10, 0.42, -0.5},
    {"cross",    "crosses",   CURVE_CROSS, 12, 0.0,   0.0},
};
// clang-format on
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], MAX_CORNERS = 12 };
_Static_assert(N_HUES *N_SHAPES == TD_SYNTH_CLASSES, "a class is a hue and a shape");

typedef enum pattern {
    PATTERN_PLAIN,
    PATTERN_FADING,
    PATTERN_STRIPED,
    PATTERN_CHECKERED,
    N_PATTERNS
} pattern;

static const char *const pattern_names[N_PATTERNS] = {"plain", "fading", "striped", "checkered"};

/* Two related tones for patterns of two. */
typedef struct tone {
    const char *name;
    colour first, second;
} tone;

// clang-format off
static const tone tones[] = {
    {"white", {{250, 250, 250}}, {{226, 228, 230}}}, {"grey", {{176, 178, 182}}, {{156, 158, 163}}},
    {"dark",  {{ 34,  36,  42}}, {{ 54,  58,  66}}}, {"pale", {{206, 226, 232}}, {{222, 236, 226}}},
};
// clang-format on
enum { N_TONES = sizeof tones / sizeof tones[0] };

typedef enum size_word { SIZE_SMALL, SIZE_LARGE, SIZE_MEDIUM } size_word;

/* Objects of one kind in a part of the canvas, whose sides are 1. */
typedef struct group {
    int hue, shape, count;
    size_word size;
    double left, top, width, height;
} group;

typedef enum side { SIDE_LEFT, SIDE_RIGHT, SIDE_ABOVE, SIDE_BELOW, N_SIDES } side;
typedef enum place {
    PLACE_ANYWHERE,
    PLACE_LEFT,
    PLACE_RIGHT,
    PLACE_TOP,
    PLACE_BOTTOM,
    PLACE_MIDDLE,
    N_PLACES
} place;

typedef struct scene {
    int n_groups;
    group groups[2];
    side side;   /* where group 0 is, seen from group 1 */
    place place; /* where the only group is */
    int tone;
    pattern pattern;
} scene;

static int draw_below(td_rng *rng, int bound) {
    return (int)td_rng_below(rng, (uint64_t)bound);
}

static group make_group(td_rng *rng, int max_count) {
    group g = {.hue = draw_below(rng, N_HUES), .shape = draw_below(rng, N_SHAPES)};
    g.count = 1 + draw_below(rng, max_count);
    g.size = (size_word)draw_below(rng, 3);
    return g;
}

static void put_group(group *g, double left, double top, double width, double height) {
    g->left = left;
    g->top = top;
    g->width = width;
    g->height = height;
}

/* One group: the whole canvas when several objects fill it, else the part that the place names. */
static void make_single(td_rng *rng, scene *s) {
    static const double corner[N_PLACES][2] = {{0.0, 0.0}, {0.0, 0.2}, {0.4, 0.2},
                                               {0.2, 0.0}, {0.2, 0.4}, {0.2, 0.2}};
    s->n_groups = 1;
    s->groups[0] = make_group(rng, 4);
    s->place = s->groups[0].count > 2 ? PLACE_ANYWHERE : (place)draw_below(rng, N_PLACES);
    double extent = s->place == PLACE_ANYWHERE ? 1.0 : 0.6;
    put_group(&s->groups[0], corner[s->place][0], corner[s->place][1], extent, extent);
}

static void make_relation(td_rng *rng, scene *s) {
    static const double half[N_SIDES][4] = {
        {0.0, 0.1, 0.5, 0.8}, {0.5, 0.1, 0.5, 0.8}, {0.1, 0.0, 0.8, 0.5}, {0.1, 0.5, 0.8, 0.5}};
    static const side opposite[N_SIDES] = {SIDE_RIGHT, SIDE_LEFT, SIDE_BELOW, SIDE_ABOVE};
    s->n_groups = 2;
    s->groups[0] = make_group(rng, 3);
    s->groups[1] = make_group(rng, 3);
    if (s->groups[1].hue == s->groups[0].hue && s->groups[1].shape == s->groups[0].shape) {
        s->groups[1].hue = (s->groups[1].hue + 1 + draw_below(rng, N_HUES - 1)) % N_HUES;
    }
    s->side = (side)draw_below(rng, N_SIDES);
    const double *a = half[s->side], *b = half[opposite[s->side]];
    put_group(&s->groups[0], a[0], a[1], a[2], a[3]);
    put_group(&s->groups[1], b[0], b[1], b[2], b[3]);
}

static scene make_scene(td_rng *rng) {
    scene s = {0};
    if (draw_below(rng, 2) == 0) {
        make_single(rng, &s);
    } else {
        make_relation(rng, &s);
    }
    s.tone = draw_below(rng, N_TONES);
    s.pattern = (pattern)draw_below(rng, N_PATTERNS);
    return s;
}

/* "two large red circles", "a blue square"; a size that is neither is not named, others mostly are.
 */
static void say_group(td_rng *rng, const group *g, td_text *out) {
    static const char *const numbers[] = {"one", "two", "three", "four"};
    const char *size = g->size == SIZE_SMALL ? "small " : g->size == SIZE_LARGE ? "large " : "";
    const char *named = draw_below(rng, 4) == 0 ? "" : size;
    bool vowel = *named == '\0' && hues[g->hue].name[0] == 'o';
    const char *number = g->count > 1              ? numbers[g->count - 1]
                         : draw_below(rng, 4) == 0 ? "one"
                         : vowel                   ? "an"
                                                   : "a";
    td_text_printf(out, "%s %s%s %s", number, named, hues[g->hue].name,
                   g->count > 1 ? shapes[g->shape].plural : shapes[g->shape].name);
}

static void say_relation(td_rng *rng, const scene *s, td_text *out) {
    static const char *const words[N_SIDES][3] = {
        {"left of", "to the left of", "on the left of"},
        {"right of", "to the right of", "on the right of"},
        {"above", "over", "on top of"},
        {"below", "under", "beneath"}};
    static const side opposite[N_SIDES] = {SIDE_RIGHT, SIDE_LEFT, SIDE_BELOW, SIDE_ABOVE};
    bool turned = draw_below(rng, 3) == 0;
    say_group(rng, &s->groups[turned], out);
    td_text_printf(out, " %s ", words[turned ? opposite[s->side] : s->side][draw_below(rng, 3)]);
    say_group(rng, &s->groups[!turned], out);
}

static void say_single(td_rng *rng, const scene *s, td_text *out) {
    static const char *const words[N_PLACES][2] = {
        {"", ""},
        {" on the left", " at the left edge"},
        {" on the right", " at the right edge"},
        {" at the top", " in the upper part"},
        {" at the bottom", " in the lower part"},
        {" in the middle", " in the centre"},
    };
    say_group(rng, &s->groups[0], out);
    td_text_puts(out, words[s->place][draw_below(rng, 2)]);
}

static void say_background(td_rng *rng, const scene *s, td_text *out) {
    int manner = draw_below(rng, 4);
    if (manner == 0) {
        td_text_printf(out, " on a %s background", tones[s->tone].name);
    } else if (manner == 1) {
        td_text_printf(out, " on a %s %s background", pattern_names[s->pattern],
                       tones[s->tone].name);
    }
}

static td_status make_texts(td_rng *rng, const scene *s, char **caption, char **label) {
    static const char *const openings[] = {
        "", "", "", "a picture of ", "an image of ", "a drawing of "};
    td_text text = {0};
    char name[TD_SYNTH_NAME_BYTES] = "";
    td_text_puts(&text, openings[draw_below(rng, sizeof openings / sizeof openings[0])]);
    if (s->n_groups == 1) {
        say_single(rng, s, &text);
        td_synth_class_name(s->groups[0].hue * N_SHAPES + s->groups[0].shape, name);
    } else {
        say_relation(rng, s, &text);
    }
    say_background(rng, s, &text);
    char *copy = td_strdup(name);
    td_status status = td_text_status(&text);
    if (status == TD_OK && copy == NULL) {
        status = td_fail(TD_ENOMEM, "a label");
    }
    if (status != TD_OK) {
        td_text_destroy(&text);
        td_free(copy);
        return status;
    }
    *caption = text.data;
    *label = copy;
    return TD_OK;
}

void td_synth_class_name(int class, char name[TD_SYNTH_NAME_BYTES]) {
    TD_ASSERT(class >= 0 && class < TD_SYNTH_CLASSES);
    snprintf(name, TD_SYNTH_NAME_BYTES, "%s %s", hues[class / N_SHAPES].name,
             shapes[class % N_SHAPES].name);
}

/* A spread of brightness over pixels that costs a few integer operations each. */
static uint32_t grain_of(uint32_t salt, int64_t pixel) {
    uint32_t x = ((uint32_t)pixel + salt) * 0x9e3779b1U;
    x = (x ^ (x >> 15)) * 0x85ebca77U;
    return (x ^ (x >> 13)) >> 16;
}

static unsigned char to_byte(double level) {
    return (unsigned char)(level <= 0.0 ? 0.0 : level >= 255.0 ? 255.0 : level + 0.5);
}

/* How much of the second tone pixel (x, y) has, in [0, 1]. */
static double pattern_share(pattern p, bool upright, int64_t period, int64_t x, int64_t y) {
    int64_t along = upright ? x : y;
    switch (p) {
    case PATTERN_FADING:
        return (double)along / (double)(TD_SYNTH_SIDE - 1);
    case PATTERN_STRIPED:
        return along / period % 2 == 0 ? 0.0 : 1.0;
    case PATTERN_CHECKERED:
        return (x / period + y / period) % 2 == 0 ? 0.0 : 1.0;
    default:
        return 0.0;
    }
}

static void draw_background(td_rng *rng, const scene *s, td_image *image) {
    const tone *t = &tones[s->tone];
    bool upright = draw_below(rng, 2) == 0;
    int64_t period = 8 + draw_below(rng, 17);
    uint32_t salt = td_rng_u32(rng);
    double grain = (double)draw_below(rng, 13);
    for (int64_t y = 0; y < image->height; y++) {
        for (int64_t x = 0; x < image->width; x++) {
            int64_t pixel = y * image->width + x;
            double share = pattern_share(s->pattern, upright, period, x, y);
            double noise = ((double)grain_of(salt, pixel) / 65535.0 - 0.5) * grain;
            for (int c = 0; c < 3; c++) {
                double level = (1.0 - share) * t->first.rgb[c] + share * t->second.rgb[c] + noise;
                image->pixels[3 * pixel + c] = to_byte(level);
            }
        }
    }
}

/* One object in pixels: centre, radius, paint, and its outline when it has corners. */
typedef struct object {
    curve curve;
    double x, y, radius, rgb[3];
    int corners;
    double corner[MAX_CORNERS][2];
} object;

/* Twelve corners of a cross whose arms are a third of its width, of circumradius about 1. */
static const double cross_corner[MAX_CORNERS][2] = {
    {0.32, 0.32},   {0.96, 0.32},   {0.96, -0.32}, {0.32, -0.32}, {0.32, -0.96}, {-0.32, -0.96},
    {-0.32, -0.32}, {-0.96, -0.32}, {-0.96, 0.32}, {-0.32, 0.32}, {-0.32, 0.96}, {0.32, 0.96}};

/* turn: in half-turns. */
static void place_corners(object *o, double turn, int shape) {
    o->corners = shapes[shape].corners;
    for (int i = 0; i < o->corners; i++) {
        double x = cross_corner[i][0], y = cross_corner[i][1];
        if (o->curve != CURVE_CROSS) {
            double angle = 2.0 * i / o->corners + shapes[shape].turn;
            double reach = shapes[shape].inner > 0.0 && i % 2 == 1 ? shapes[shape].inner : 1.0;
            x = reach * td_cospi(angle);
            y = reach * td_sinpi(angle);
        }
        o->corner[i][0] = o->x + o->radius * (x * td_cospi(turn) - y * td_sinpi(turn));
        o->corner[i][1] = o->y + o->radius * (x * td_sinpi(turn) + y * td_cospi(turn));
    }
}

/* The signed distance of (x, y) from a polygon's outline: negative inside, by the crossings of a
 * ray to the right. */
static double polygon_distance(const object *o, double x, double y) {
    double nearest = 1e30;
    bool inside = false;
    for (int i = 0, j = o->corners - 1; i < o->corners; j = i++) {
        const double *a = o->corner[i], *b = o->corner[j];
        double ex = b[0] - a[0], ey = b[1] - a[1], px = x - a[0], py = y - a[1];
        double along = (px * ex + py * ey) / (ex * ex + ey * ey);
        along = along < 0.0 ? 0.0 : along > 1.0 ? 1.0 : along;
        double dx = px - along * ex, dy = py - along * ey, squared = dx * dx + dy * dy;
        nearest = squared < nearest ? squared : nearest;
        if ((a[1] > y) != (b[1] > y) && x < ex * py / ey + a[0]) {
            inside = !inside;
        }
    }
    return inside ? -sqrt(nearest) : sqrt(nearest);
}

static double object_distance(const object *o, double x, double y) {
    if (o->corners > 0) {
        return polygon_distance(o, x, y);
    }
    double dx = x - o->x, dy = y - o->y;
    double radius = sqrt(dx * dx + dy * dy);
    return o->curve == CURVE_RING ? fabs(radius - 0.72 * o->radius) - 0.22 * o->radius
                                  : radius - 0.9 * o->radius;
}

/* A pixel is covered by 1/2 - distance of its centre, cut to [0, 1]: exact for a straight edge
 * along the grid. */
static void paint(const object *o, td_image *image) {
    int64_t left = (int64_t)(o->x - o->radius) - 1, right = (int64_t)(o->x + o->radius) + 2;
    int64_t top = (int64_t)(o->y - o->radius) - 1, bottom = (int64_t)(o->y + o->radius) + 2;
    left = left < 0 ? 0 : left;
    top = top < 0 ? 0 : top;
    right = right > image->width ? image->width : right;
    bottom = bottom > image->height ? image->height : bottom;
    for (int64_t y = top; y < bottom; y++) {
        for (int64_t x = left; x < right; x++) {
            double cover = 0.5 - object_distance(o, (double)x + 0.5, (double)y + 0.5);
            cover = cover < 0.0 ? 0.0 : cover > 1.0 ? 1.0 : cover;
            unsigned char *pixel = image->pixels + 3 * (y * image->width + x);
            for (int c = 0; c < 3; c++) {
                pixel[c] = to_byte((1.0 - cover) * pixel[c] + cover * o->rgb[c]);
            }
        }
    }
}

/* A uniform draw in [-1, 1). */
static double draw_signed(td_rng *rng) {
    return 2.0 * td_rng_uniform(rng) - 1.0;
}

static void draw_object(td_rng *rng, const group *g, double x, double y, double room,
                        td_image *image) {
    static const double shares[] = {0.55, 0.94, 0.74};
    object o = {.curve = shapes[g->shape].curve};
    o.radius = room * shares[g->size] * (0.96 + 0.04 * draw_signed(rng)) * TD_SYNTH_SIDE;
    double slack = room * TD_SYNTH_SIDE - o.radius;
    o.x = x * TD_SYNTH_SIDE + 0.6 * slack * draw_signed(rng);
    o.y = y * TD_SYNTH_SIDE + 0.6 * slack * draw_signed(rng);
    for (int c = 0; c < 3; c++) {
        o.rgb[c] = hues[g->hue].value.rgb[c] + 12.0 * draw_signed(rng);
    }
    /* An eighteenth of a half-turn is 10 degrees: a square and a diamond stay 25 apart. */
    place_corners(&o, draw_signed(rng) / 18.0, g->shape);
    paint(&o, image);
}

/* The group's objects on a grid that suits its part of the canvas. */
static void draw_group(td_rng *rng, const group *g, td_image *image) {
    int columns = g->count > 2 ? 2 : g->count, rows = (g->count + columns - 1) / columns;
    if (g->height > g->width ||
        (g->count == 2 && g->height >= g->width && draw_below(rng, 2) == 0)) {
        rows = g->count;
        columns = 1;
    } else if (g->width > g->height) {
        columns = g->count;
        rows = 1;
    }
    double cell_width = g->width / columns, cell_height = g->height / rows;
    double room = 0.5 * (cell_width < cell_height ? cell_width : cell_height);
    room = room > 0.34 ? 0.34 : room;
    for (int i = 0; i < g->count; i++) {
        int row = i / columns;
        int in_row = row == rows - 1 ? g->count - row * columns : columns;
        double x = g->left + 0.5 * g->width + cell_width * (i % columns - 0.5 * (in_row - 1));
        double y = g->top + cell_height * (row + 0.5);
        draw_object(rng, g, x, y, room, image);
    }
}

/* The texts are drawn from the stream before the picture, so that both functions give the same. */
td_status td_synth_caption(uint64_t seed, int64_t index, char **caption, char **label) {
    td_rng rng = td_rng_make(seed, TD_PURPOSE_SYNTH, (uint64_t)index);
    scene s = make_scene(&rng);
    return make_texts(&rng, &s, caption, label);
}

td_status td_synth_pair(uint64_t seed, int64_t index, td_image *image, char **caption,
                        char **label) {
    td_rng rng = td_rng_make(seed, TD_PURPOSE_SYNTH, (uint64_t)index);
    scene s = make_scene(&rng);
    td_image picture;
    TD_TRY(td_image_create(TD_SYNTH_SIDE, TD_SYNTH_SIDE, &picture));
    td_status status = make_texts(&rng, &s, caption, label);
    if (status != TD_OK) {
        td_image_destroy(&picture);
        return status;
    }
    draw_background(&rng, &s, &picture);
    for (int i = 0; i < s.n_groups; i++) {
        draw_group(&rng, &s.groups[i], &picture);
    }
    *image = picture;
    return TD_OK;
}
