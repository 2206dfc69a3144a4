/* SPDX-License-Identifier: Apache-2.0
 * What a collective must give, element by element, from the formula of the inputs and nothing of
 * the code under test but its types.
 */
#ifndef TD_TESTS_COLLECTIVES_REFERENCE_H
#define TD_TESTS_COLLECTIVES_REFERENCE_H

#include "collectives/comm.h"

/* WHOLE: small whole numbers, results exact in any order. REAL: mixed magnitudes, floats only. */
typedef enum td_pattern { TD_PATTERN_WHOLE, TD_PATTERN_REAL } td_pattern;

typedef struct td_reference {
    const td_collective *row;
    const td_call *call;
    int ranks;
    int64_t elements;
    td_pattern kind;
} td_reference;

/* The input of a rank at element i, already rounded to the type. */
double td_reference_input(const td_reference *r, int rank, int64_t i);
void td_reference_store(void *buffer, int64_t i, double value, td_dtype dtype);

/* Whether element i of out of a rank is defined, and if so the bytes it must have. */
bool td_reference_wanted(const td_reference *r, int rank, int64_t i, unsigned char *right);

/* Reals: the exact bits where the row fixes the order of the sum (tree, ring), else within the
 * bound of any order. */
bool td_reference_near(const td_reference *r, int rank, int64_t i, const unsigned char *have);

uint16_t td_reference_bf16(float value);
float td_reference_float(uint32_t bits);

#endif
