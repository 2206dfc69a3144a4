/* SPDX-License-Identifier: Apache-2.0
 * Every row of every operation on shapes that nobody chose: equal to the portable row bit for bit,
 * within the bound of its float64 oracle, with pages without access before or behind every buffer
 * or the buffers one element off a cache line. More than 10,000 shapes here, ten times that in the
 * full suite. A row that is added to the table is among them.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>

#include "drawn_shapes.h"
#include "kernel_oracles.h"

enum { QUICK_DRAWS = TD_DRAWN_COVERING + 24, FULL_DRAWS = TD_DRAWN_COVERING + 2900 };
_Static_assert(QUICK_DRAWS *TD_OP_COUNT >= 10000, "what the quick suite promises");
_Static_assert(FULL_DRAWS *TD_OP_COUNT >= 100000, "what the full suite promises");

static td_kernel_example *create(td_op_id op, int64_t draw, drawn_shape *shape,
                                 td_kernel_example_placement placement) {
    td_kernel_example *example;
    cr_assert_eq(
        td_kernel_example_create_of(op, shape->numbers, (uint64_t)draw, placement, &example), TD_OK,
        "%s", td_error());
    return example;
}

/* The portable row against the oracle, all others against the portable row. */
static void check_draw(td_op_id op, int64_t draw) {
    int count;
    const td_kernel *rows = td_kernels(&count);
    drawn_shape shape;
    cr_assert(draw_shape(op, draw, &shape), "%s has no ranges to draw from", td_ops[op].name);
    td_kernel_example *before = create(op, draw, &shape, TD_EXAMPLE_ALIGNED);
    td_kernel_example *after = create(op, draw, &shape, shape.placement);
    twin_named(td_kernel_example_shape(after));
    td_kernel_example_run(after, td_kernel_example_portable(op), shape.parts);
    cr_assert_eq(td_kernel_example_keep(after), TD_OK, "%s", td_error());
    kernel_oracle(op)(td_kernel_example_args(before), td_kernel_example_args(after));
    for (int i = 0; i < count; i++) {
        if (rows[i].op != op || rows[i].isa > td_isa_native()) {
            continue;
        }
        td_kernel_example_reset(after);
        td_kernel_example_run(after, &rows[i], shape.parts);
        td_status status = td_kernel_example_check(after, after);
        cr_assert_eq(status, TD_OK, "%s, placement %d, %d parts, draw %d: %s", rows[i].name,
                     (int)shape.placement, (int)shape.parts, (int)draw,
                     status == TD_OK ? "" : td_error());
    }
    td_kernel_example_destroy(before);
    td_kernel_example_destroy(after);
}

static struct criterion_test_params every_operation(void) {
    static int ops[TD_OP_COUNT];
    for (int op = 0; op < TD_OP_COUNT; op++) {
        ops[op] = op;
    }
    return cr_make_param_array(int, ops, TD_OP_COUNT);
}

ParameterizedTestParameters(drawn_shapes, hold_for_every_row) {
    return every_operation();
}

ParameterizedTest(int *op, drawn_shapes, hold_for_every_row) {
    for (int64_t draw = 0; draw < QUICK_DRAWS; draw++) {
        check_draw((td_op_id)*op, draw);
    }
}

ParameterizedTestParameters(full_drawn_shapes, hold_for_every_row) {
    return every_operation();
}

ParameterizedTest(int *op, full_drawn_shapes, hold_for_every_row) {
    for (int64_t draw = QUICK_DRAWS; draw < FULL_DRAWS; draw++) {
        check_draw((td_op_id)*op, draw);
    }
}

/* What the array promises: two sizes meet in every pair of levels. */
Test(drawn_shapes, cover_every_pair_of_sizes) {
    static unsigned char met[4][4][71][71];
    drawn_shape shape;
    int pairs = 0;
    for (int64_t draw = 0; draw < TD_DRAWN_COVERING; draw++) {
        cr_assert(draw_shape(TD_OP_embedding_f32, draw, &shape)); /* four sizes, none made to fit */
        for (int i = 0; i < 6; i++) {
            static const int first[] = {0, 0, 0, 1, 1, 2}, second[] = {1, 2, 3, 2, 3, 3};
            int64_t a = shape.numbers[first[i]], b = shape.numbers[second[i]];
            pairs += !met[first[i]][second[i]][a][b];
            met[first[i]][second[i]][a][b] = 1;
        }
    }
    cr_expect_eq(pairs, 6 * TD_DRAWN_LEVELS * TD_DRAWN_LEVELS);
}

/* The smallest change of a buffer that its oracle must see: a value becomes NaN, or twice itself
 * and one more; of integers, one more. */
static void spoil(const td_kernel_example_buffer *buffer, int64_t at, bool nan) {
    unsigned char *p = (unsigned char *)buffer->data + (size_t)at * buffer->element_bytes;
    if (buffer->element_bytes == sizeof(double)) {
        double value;
        memcpy(&value, p, sizeof value);
        value = nan ? NAN : 2 * value + 1;
        memcpy(p, &value, sizeof value);
    } else if (buffer->element_bytes == sizeof(float)) {
        float value;
        memcpy(&value, p, sizeof value);
        value = nan ? NAN : 2 * value + 1;
        memcpy(p, &value, sizeof value);
    } else {
        p[0]++;
    }
}

/* Every oracle sees one wrong element in any of the results, a NaN too. */
Test(drawn_shapes, oracles_refuse_wrong_results) {
    for (int op = 0; op < TD_OP_COUNT; op++) {
        drawn_shape shape;
        cr_assert(draw_shape((td_op_id)op, 100, &shape));
        td_kernel_example *before = create((td_op_id)op, 100, &shape, TD_EXAMPLE_ALIGNED);
        td_kernel_example *after = create((td_op_id)op, 100, &shape, TD_EXAMPLE_ALIGNED);
        int n;
        const td_kernel_example_buffer *buffers = td_kernel_example_buffers(after, &n);
        for (int i = -2; i < 2 * n; i++) {
            const td_kernel_example_buffer *b = &buffers[i < 0 ? 0 : i / 2];
            bool result = b->role == TD_EXAMPLE_OUT || b->role == TD_EXAMPLE_INOUT;
            if (i >= 0 && (!result || b->rows * b->cols == 0)) {
                continue;
            }
            td_kernel_example_reset(after);
            td_kernel_example_run(after, td_kernel_example_portable((td_op_id)op), 1);
            if (i >= 0) {
                spoil(b, (b->rows - 1) * b->ld + b->cols - 1, i % 2 == 1);
            }
            twin_catch(true);
            kernel_oracle((td_op_id)op)(td_kernel_example_args(before),
                                        td_kernel_example_args(after));
            int64_t caught = twin_caught();
            twin_catch(false);
            cr_expect_eq(caught > 0, i >= 0, "%s %s: %s, %d", td_ops[op].name,
                         td_kernel_example_shape(after), b->name, (int)caught);
        }
        td_kernel_example_destroy(before);
        td_kernel_example_destroy(after);
    }
}

/* Just inside of a bound and just outside, on both sides; equal bits and one ULP. */
Test(drawn_shapes, comparators_know_their_bounds) {
    const double want = 3.5, bound = 1e-6;
    static const struct {
        double by;
        bool good;
    } rows[] = {{0.999999, true}, {-0.999999, true}, {1.000001, false}, {-1.000001, false}};
    for (int i = 0; i < 4; i++) {
        twin_catch(true);
        twin_near("value", i, want + rows[i].by * bound, want, bound);
        cr_expect_eq(twin_caught(), rows[i].good ? 0 : 1, "%g", rows[i].by);
    }
    twin_catch(true);
    twin_near("value", 0, NAN, want, INFINITY);
    twin_near("value", 0, want, NAN, INFINITY);
    twin_near("value", 0, -INFINITY, INFINITY, INFINITY);
    twin_same("value", 0, nextafterf(1.0f, 2.0f), 1.0f);
    twin_same("value", 0, -0.0f, 0.0f);
    twin_equal("value", 0, 1, 2);
    cr_expect_eq(twin_caught(), 6);
    twin_catch(true);
    twin_near("value", 0, NAN, NAN, 0);
    twin_near("value", 0, INFINITY, INFINITY, 0);
    twin_same("value", 0, 1.0f, 1.0f);
    cr_expect_eq(twin_caught(), 0);
    twin_catch(false);
}
