/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel_twin.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "base/rng.h"

enum { SEED = 7 };

static const char *row_name = "";

const char *twin_row(void) {
    return row_name;
}

static const td_kernel *next_row(td_op_id op, int *i) {
    int count;
    const td_kernel *kernels = td_kernels(&count);
    for (; *i < count; ++*i) {
        if (kernels[*i].op == op && kernels[*i].isa <= td_isa_native()) {
            row_name = kernels[*i].name;
            return &kernels[(*i)++];
        }
    }
    return NULL;
}

void twin_each_case(td_op_id op, twin_check_fn *check) {
    int64_t cases = td_kernel_example_cases(op, TD_EXAMPLE_EDGE);
    for (int64_t c = 0; c < cases; c++) {
        td_kernel_example *before, *after;
        cr_assert_eq(td_kernel_example_create(op, TD_EXAMPLE_EDGE, c, SEED, &before), TD_OK, "%s",
                     td_error());
        cr_assert_eq(td_kernel_example_create(op, TD_EXAMPLE_EDGE, c, SEED, &after), TD_OK, "%s",
                     td_error());
        const td_kernel *row;
        for (int i = 0; (row = next_row(op, &i)) != NULL;) {
            td_kernel_example_reset(after);
            td_kernel_example_run(after, row, 1);
            check(td_kernel_example_args(before), td_kernel_example_args(after));
        }
        td_kernel_example_destroy(before);
        td_kernel_example_destroy(after);
    }
}

void twin_each_row(td_op_id op, const void *args, twin_check_fn *check) {
    void *scratch = twin_scratch(td_ops[op].scratch(args));
    const td_kernel *row;
    for (int i = 0; (row = next_row(op, &i)) != NULL;) {
        row->run(args, 0, td_ops[op].tiles(args), scratch);
        check(args, args);
    }
}

void *twin_fenced(twin_region region, int64_t bytes) {
    enum { MOST = 1 << 26 };
    static struct {
        unsigned char *end, *filled; /* from `filled` to `end` nothing is zero by chance */
    } regions[TWIN_REGIONS];
    unsigned char **end = &regions[region].end, **filled = &regions[region].filled;
    if (*end == NULL) {
        unsigned char *map =
            mmap(NULL, 2 * MOST, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        cr_assert(map != MAP_FAILED && mprotect(map, MOST, PROT_READ | PROT_WRITE) == 0);
        *end = *filled = map + MOST;
    }
    cr_assert_leq(bytes, MOST);
    unsigned char *memory = *end - (bytes + 63) / 64 * 64;
    if (memory < *filled) {
        memset(memory, 0xFF, (size_t)(*filled - memory));
        *filled = memory;
    }
    return memory;
}

void *twin_scratch(int64_t bytes) {
    return twin_fenced(TWIN_SCRATCH, bytes);
}

void twin_named(const char *row) {
    row_name = row;
}

float *twin_floats(int64_t n, uint64_t id, float scale) {
    float *x = td_alloc((size_t)(n > 0 ? n : 1) * sizeof *x);
    cr_assert_not_null(x);
    td_rng rng = td_rng_make(SEED, TD_PURPOSE_TEST, id);
    for (int64_t i = 0; i < n; i++) {
        uint32_t word = td_rng_u32(&rng);
        float value = ldexpf(1.0f + (float)(word & 0x7FFFFFu) * 0x1p-23f, -(int)(word >> 23 & 3u));
        x[i] = word >> 31 != 0 ? -value * scale : value * scale;
    }
    return x;
}

static bool catching;
static int64_t n_caught;

void twin_catch(bool on) {
    catching = on;
    n_caught = 0;
}

int64_t twin_caught(void) {
    return n_caught;
}

/* True when failures are to be counted only. */
static bool caught(void) {
    n_caught += catching;
    return catching;
}

void twin_near(const char *what, int64_t i, double got, double want, double bound) {
    bool special = isnan(want) || isinf(want);
    if (special ? (isnan(want) ? isnan(got) != 0 : got == want) : fabs(got - want) <= bound) {
        return;
    }
    if (caught()) {
        return;
    }
    cr_expect_fail("%s: %s[%lld] is %a, expected %a within %.3g, off by %.3g", row_name, what,
                   (long long)i, got, want, bound, fabs(got - want));
}

void twin_same(const char *what, int64_t i, float got, float want) {
    if (memcmp(&got, &want, sizeof got) != 0 && !caught()) {
        cr_expect_fail("%s: %s[%lld] is %a, expected %a", row_name, what, (long long)i, (double)got,
                       (double)want);
    }
}

void twin_equal(const char *what, int64_t i, int64_t got, int64_t want) {
    if (got != want && !caught()) {
        cr_expect_fail("%s: %s[%lld] is %lld, expected %lld", row_name, what, (long long)i,
                       (long long)got, (long long)want);
    }
}

float twin_tree(const float *partials, int64_t n) {
    if (n == 1) {
        return partials[0];
    }
    int64_t left = 1;
    while (2 * left < n) {
        left *= 2;
    }
    return twin_tree(partials, left) + twin_tree(partials + left, n - left);
}

float twin_lanes(const float lanes[16]) {
    float eight[8], four[4];
    for (int i = 0; i < 8; i++) {
        eight[i] = lanes[i] + lanes[i + 8];
    }
    for (int i = 0; i < 4; i++) {
        four[i] = eight[i] + eight[i + 4];
    }
    return (four[0] + four[2]) + (four[1] + four[3]);
}
