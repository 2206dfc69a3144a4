/* SPDX-License-Identifier: Apache-2.0 */
#include "data/resize.h"

#include <math.h>
#include <stdbool.h>

#include "base/memory.h"
#include "data/resize_pass.h"

/* Keys' cubic with a = -0.5, which reproduces quadratics. */
static double cubic(double x) {
    x = fabs(x);
    if (x < 1.0) {
        return (1.5 * x - 2.5) * x * x + 1.0;
    }
    if (x < 2.0) {
        return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5;
    }
    return 0.0;
}

static void axis_destroy(td_resize_axis *a) {
    td_free(a->spans);
    td_free(a->weights);
    *a = (td_resize_axis){0};
}

/* Rounds half away from zero, as the fixed-point reference does. */
static int32_t to_fixed(double weight) {
    return (int32_t)(weight * (1 << TD_RESIZE_BITS) + (weight < 0.0 ? -0.5 : 0.5));
}

/* Weights of output positions [first, first + count) when in_size samples become out_size. The sums
 * run in ascending order in f64, so the rounded weights are the same everywhere. */
static td_status axis_create(int64_t in_size, int64_t out_size, int64_t first, int64_t count,
                             td_resize_axis *out) {
    double scale = (double)in_size / (double)out_size;
    double widening = scale < 1.0 ? 1.0 : scale;
    double support = 2.0 * widening;
    int64_t stride = ((int64_t)ceil(support) * 2 + 1 + 3) / 4 * 4; /* read by fours */
    td_resize_axis a = {.count = count, .stride = stride};
    a.spans = td_alloc((size_t)count * sizeof *a.spans);
    a.weights = td_alloc_zero((size_t)(count * stride) * sizeof *a.weights);
    double *exact = td_alloc((size_t)stride * sizeof *exact);
    if (a.spans == NULL || a.weights == NULL || exact == NULL) {
        axis_destroy(&a);
        td_free(exact);
        return td_fail(TD_ENOMEM, "weights to resize %lld to %lld", (long long)in_size,
                       (long long)out_size);
    }
    for (int64_t i = 0; i < count; i++) {
        double centre = ((double)(first + i) + 0.5) * scale;
        int64_t low = (int64_t)(centre - support + 0.5);
        int64_t high = (int64_t)(centre + support + 0.5);
        low = low < 0 ? 0 : low;
        high = high > in_size ? in_size : high;
        double sum = 0.0;
        for (int64_t x = low; x < high; x++) {
            exact[x - low] = cubic(((double)x - centre + 0.5) * (1.0 / widening));
            sum += exact[x - low];
        }
        for (int64_t x = 0; x < high - low; x++) {
            a.weights[i * stride + x] = to_fixed(sum != 0.0 ? exact[x] / sum : exact[x]);
        }
        a.spans[i] = (td_resize_span){.first = low, .n = high - low};
    }
    td_free(exact);
    *out = a;
    return TD_OK;
}

static unsigned char to_level(int32_t sum) {
    int32_t level = sum >> TD_RESIZE_BITS;
    return (unsigned char)(level < 0 ? 0 : level > 255 ? 255 : level);
}

void td_resize_columns__portable(const unsigned char *in, int64_t width, int64_t rows,
                                 const td_resize_axis *a, unsigned char *out, unsigned char *line) {
    (void)line;
    for (int64_t y = 0; y < rows; y++) {
        for (int64_t i = 0; i < a->count; i++) {
            const unsigned char *pixel = in + 3 * (width * y + a->spans[i].first);
            const int32_t *weight = a->weights + i * a->stride;
            int32_t red = 1 << (TD_RESIZE_BITS - 1), green = red, blue = red;
            for (int64_t x = 0; x < a->spans[i].n; x++) {
                red += pixel[3 * x] * weight[x];
                green += pixel[3 * x + 1] * weight[x];
                blue += pixel[3 * x + 2] * weight[x];
            }
            *out++ = to_level(red);
            *out++ = to_level(green);
            *out++ = to_level(blue);
        }
    }
}

/* A column at a time over some columns, so that the sums stay where they are. */
void td_resize_rows__portable(const unsigned char *lines, int64_t row, int64_t line_bytes,
                              const td_resize_axis *a, unsigned char *out) {
    enum { BLOCK = 64 };
    for (int64_t i = 0; i < a->count; i++) {
        const unsigned char *from = lines + line_bytes * (a->spans[i].first - row);
        for (int64_t x = 0; x < line_bytes; x += BLOCK) {
            int64_t n = line_bytes - x < BLOCK ? line_bytes - x : BLOCK;
            int32_t sums[BLOCK];
            for (int64_t c = 0; c < n; c++) {
                sums[c] = 1 << (TD_RESIZE_BITS - 1);
            }
            for (int64_t y = 0; y < a->spans[i].n; y++) {
                int32_t weight = a->weights[i * a->stride + y];
                for (int64_t c = 0; c < n; c++) {
                    sums[c] += from[y * line_bytes + x + c] * weight;
                }
            }
            for (int64_t c = 0; c < n; c++) {
                out[i * line_bytes + x + c] = to_level(sums[c]);
            }
        }
    }
}

/* A window of the resized image: columns [left, left + width) of full_width, rows [top, top +
 * height) of full_height. */
typedef struct window {
    int64_t full_width, left, width;
    int64_t full_height, top, height;
} window;

/* A side that keeps its size needs no case of its own: its weights come out as exactly 1 and 0. */
static td_status resize_window(const td_image *in, const window *w, td_isa isa, td_image *out) {
    td_image result = {0}, lines = {0};
    td_resize_axis columns = {0}, rows = {0};
    unsigned char *line = NULL;
    td_status status = td_image_create(w->width, w->height, &result);
    if (status == TD_OK) {
        status = axis_create(in->width, w->full_width, w->left, w->width, &columns);
    }
    if (status == TD_OK) {
        status = axis_create(in->height, w->full_height, w->top, w->height, &rows);
    }
    if (status == TD_OK) {
        int64_t first = rows.spans[0].first;
        int64_t end = rows.spans[w->height - 1].first + rows.spans[w->height - 1].n;
        status = td_image_create(w->width, end - first, &lines);
        line = td_alloc((size_t)(3 * in->width) + TD_RESIZE_PADDING);
        if (status == TD_OK && line == NULL) {
            status = td_fail(TD_ENOMEM, "a line of %lld pixels", (long long)in->width);
        }
        if (status == TD_OK) {
            bool wide = isa >= TD_ISA_AVX2;
            (wide ? td_resize_columns__avx2
                  : td_resize_columns__portable)(in->pixels + 3 * in->width * first, in->width,
                                                 end - first, &columns, lines.pixels, line);
            (wide ? td_resize_rows__avx2 : td_resize_rows__portable)(
                lines.pixels, first, 3 * w->width, &rows, result.pixels);
            *out = result;
            result = (td_image){0};
        }
    }
    td_free(line);
    axis_destroy(&columns);
    axis_destroy(&rows);
    td_image_destroy(&lines);
    td_image_destroy(&result);
    return status;
}

static td_status check_size(int64_t width, int64_t height) {
    if (width < 1 || height < 1 || width > TD_IMAGE_SIDE_MAX || height > TD_IMAGE_SIDE_MAX) {
        return td_fail(TD_EUSAGE, "resize to %lld x %lld: sides must be 1 to %d", (long long)width,
                       (long long)height, TD_IMAGE_SIDE_MAX);
    }
    return TD_OK;
}

td_status td_image_resize_at(const td_image *in, int64_t width, int64_t height, td_isa isa,
                             td_image *out) {
    TD_TRY(check_size(width, height));
    window w = {.full_width = width, .width = width, .full_height = height, .height = height};
    return resize_window(in, &w, isa, out);
}

td_status td_image_resize_bicubic(const td_image *in, int64_t width, int64_t height,
                                  td_image *out) {
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    return td_image_resize_at(in, width, height, isa, out);
}

static window shortest_window(const td_image *in, int64_t size) {
    bool wide = in->width > in->height;
    int64_t width = wide ? size * in->width / in->height : size;
    int64_t height = wide ? size : size * in->height / in->width;
    return (window){.full_width = width, .width = width, .full_height = height, .height = height};
}

td_status td_image_resize_shortest(const td_image *in, int64_t size, td_image *out) {
    TD_TRY(check_size(size, size));
    td_isa isa;
    TD_TRY(td_isa_active(&isa));
    window w = shortest_window(in, size);
    return resize_window(in, &w, isa, out);
}

/* Python rounds a half to the even neighbour, and torchvision's centre crop is written with it. */
static int64_t half_to_even(int64_t margin) {
    int64_t half = margin / 2;
    return margin % 2 == 0 ? half : half + half % 2;
}

td_status td_image_fit(const td_image *in, int64_t size, td_image *out) {
    td_isa isa;
    TD_TRY(check_size(size, size));
    TD_TRY(td_isa_active(&isa));
    window w = shortest_window(in, size);
    w.left = half_to_even(w.full_width - size);
    w.top = half_to_even(w.full_height - size);
    w.width = size;
    w.height = size;
    return resize_window(in, &w, isa, out);
}

void td_image_normalise(const td_image *in, float *out) {
    static const float mean[3] = {0.48145466F, 0.4578275F, 0.40821073F};
    static const float deviation[3] = {0.26862954F, 0.26130258F, 0.27577711F};
    float value[3][256];
    for (int c = 0; c < 3; c++) {
        for (int level = 0; level < 256; level++) {
            value[c][level] = ((float)level / 255.0F - mean[c]) / deviation[c];
        }
    }
    int64_t n_pixels = in->width * in->height;
    for (int64_t i = 0; i < n_pixels; i++) {
        for (int c = 0; c < 3; c++) {
            out[c * n_pixels + i] = value[c][in->pixels[3 * i + c]];
        }
    }
}
