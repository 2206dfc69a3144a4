/* SPDX-License-Identifier: Apache-2.0
 * Shapes that nobody chose. Every operation says which range each number of its cases has; the
 * first TD_DRAWN_COVERING draws are a covering array (any two numbers meet in every pair of 17
 * levels, which lie around lanes and tiles and on primes), all later ones random.
 */
#ifndef TD_TESTS_DRAWN_SHAPES_H
#define TD_TESTS_DRAWN_SHAPES_H

#include "kernels/kernel_example.h"

enum { TD_DRAWN_LEVELS = 17, TD_DRAWN_COVERING = TD_DRAWN_LEVELS * TD_DRAWN_LEVELS };

typedef struct drawn_shape {
    int64_t numbers[TD_EXAMPLE_DIMS];
    td_kernel_example_placement placement;
    int64_t parts; /* calls */
} drawn_shape;

/* False when the operation has no ranges. */
bool draw_shape(td_op_id op, int64_t draw, drawn_shape *out);

#endif
