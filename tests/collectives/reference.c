/* SPDX-License-Identifier: Apache-2.0 */
#include "reference.h"

#include <math.h>
#include <string.h>

float td_reference_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Round to nearest even by comparing distances, not by the trick of the code under test. */
uint16_t td_reference_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t low = bits & 0xFFFF0000u, high = low + 0x10000;
    double below = fabs((double)value - td_reference_float(low));
    double above = fabs((double)td_reference_float(high) - value);
    bool up = above < below || (above == below && (low >> 16 & 1) != 0);
    return (uint16_t)((up ? high : low) >> 16);
}

static double rounded(double value, td_dtype dtype) {
    if (dtype == TD_BF16) {
        return td_reference_float((uint32_t)td_reference_bf16((float)value) << 16);
    }
    return dtype == TD_F32 ? (float)value : value;
}

double td_reference_input(const td_reference *r, int rank, int64_t i) {
    uint64_t x = (uint64_t)(i * 64 + rank + 1) * UINT64_C(0x9E3779B97F4A7C15);
    x ^= x >> 29;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 32;
    if (r->kind == TD_PATTERN_WHOLE) {
        static const double factors[] = {1, -1, 2};
        /* Sums of 16 stay within the 256 that bf16 holds; products are powers of two. */
        return r->call->reduce == TD_PROD ? factors[x % 3] : (double)(int)(x % 31) - 15;
    }
    double real = ((double)(x >> 11) * 0x1p-53 - 0.5) * (x % 7 == 0 ? 1000.0 : 1.0);
    return rounded(real, r->call->dtype);
}

void td_reference_store(void *buffer, int64_t i, double value, td_dtype dtype) {
    switch (dtype) {
    case TD_BF16:
        ((uint16_t *)buffer)[i] = td_reference_bf16((float)value);
        break;
    case TD_F64:
        ((double *)buffer)[i] = value;
        break;
    case TD_I32:
        ((int32_t *)buffer)[i] = (int32_t)value;
        break;
    case TD_I64:
        ((int64_t *)buffer)[i] = (int64_t)value;
        break;
    default:
        ((float *)buffer)[i] = (float)value;
        break;
    }
}

static double value_of(const unsigned char *have, td_dtype dtype) {
    float f;
    double d;
    uint16_t h;
    if (dtype == TD_BF16) {
        memcpy(&h, have, sizeof h);
        return td_reference_float((uint32_t)h << 16);
    }
    memcpy(&f, have, sizeof f);
    if (dtype == TD_F64) {
        memcpy(&d, have, sizeof d);
        return d;
    }
    return f;
}

/* The block an element lies in, for vectors of one block a rank. */
static int block_of(const td_reference *r, int64_t i) {
    int64_t end = 0;
    if (r->call->counts == NULL) { /* the first b with i < count (b + 1) / ranks, rounded down */
        return (int)(((i + 1) * r->ranks - 1) / r->call->count);
    }
    for (int b = 0; b < r->ranks; b++) {
        end += r->call->counts[b];
        if (i < end) {
            return b;
        }
    }
    return -1;
}

/* alltoall: whose block element i of out of `rank` is, and where it comes from. */
static bool pair_source(const td_reference *r, int rank, int64_t i, int *from, int64_t *at) {
    int p = r->ranks;
    int64_t first = 0;
    for (int peer = 0; peer < p; peer++) {
        const int64_t *counts = r->call->counts;
        int64_t n = counts != NULL ? counts[peer * p + rank] : r->call->count;
        if (i < first + n) {
            *from = peer;
            *at = i - first;
            for (int j = 0; j < rank; j++) {
                *at += counts != NULL ? counts[peer * p + j] : r->call->count;
            }
            return true;
        }
        first += n;
    }
    return false;
}

/* Operations that move: where the element comes from; false: undefined or a sum. */
static bool source_of(const td_reference *r, int rank, int64_t i, int *from, int64_t *at) {
    int p = r->ranks;
    *at = i;
    switch (r->row->id) {
    case TD_COLL_broadcast:
        *from = r->call->root;
        return true;
    case TD_COLL_scatter:
        *from = r->call->root;
        return block_of(r, i) == rank;
    case TD_COLL_allgather:
        *from = block_of(r, i);
        return true;
    case TD_COLL_gather:
        *from = block_of(r, i);
        return rank == r->call->root;
    case TD_COLL_alltoall:
        return pair_source(r, rank, i, from, at);
    case TD_COLL_shift:
        *from = (rank + p - 1) % p;
        return true;
    case TD_COLL_exchange:
        *from = i < r->call->count / 2 ? (rank + p - 1) % p : (rank + 1) % p;
        return true;
    default:
        return false;
    }
}

/* Operations that sum: over ranks [0, *last). */
static bool summands_of(const td_reference *r, int rank, int64_t i, int *last) {
    *last = r->ranks;
    switch (r->row->id) {
    case TD_COLL_allreduce:
        return true;
    case TD_COLL_reduce:
        return rank == r->call->root;
    case TD_COLL_reduce_scatter:
        return block_of(r, i) == rank;
    case TD_COLL_scan:
        *last = rank + 1;
        return true;
    case TD_COLL_exscan:
        *last = rank;
        return rank > 0;
    default:
        return false;
    }
}

static double combine(td_reduce reduce, double a, double b) {
    switch (reduce) {
    case TD_PROD:
        return a * b;
    case TD_MIN:
        return a < b ? a : b;
    case TD_MAX:
        return a > b ? a : b;
    default:
        return a + b;
    }
}

bool td_reference_wanted(const td_reference *r, int rank, int64_t i, unsigned char *right) {
    int from, last;
    int64_t at;
    if (source_of(r, rank, i, &from, &at)) {
        td_reference_store(right, 0, td_reference_input(r, from, at), r->call->dtype);
        return true;
    }
    if (!summands_of(r, rank, i, &last)) {
        return false;
    }
    double sum = td_reference_input(r, 0, i);
    for (int k = 1; k < last; k++) {
        sum = combine(r->call->reduce, sum, td_reference_input(r, k, i));
    }
    if (r->call->reduce == TD_AVG) {
        bool wide = r->call->dtype == TD_F64;
        bool whole = r->call->dtype == TD_I32 || r->call->dtype == TD_I64;
        sum = wide || whole ? sum / r->ranks : (double)((float)sum / (float)r->ranks);
    }
    td_reference_store(right, 0, sum, r->call->dtype);
    return true;
}

/* The balanced tree over ranks, written as the binary counter that defines it. */
static double tree_sum(const td_reference *r, int64_t i) {
    double stack[8];
    int depth = 0;
    td_dtype wide = r->call->dtype == TD_F64 ? TD_F64 : TD_F32;
    for (int k = 0; k < r->ranks; k++) {
        stack[depth++] = td_reference_input(r, k, i);
        for (int ones = k; (ones & 1) != 0; ones >>= 1, depth--) {
            stack[depth - 2] = rounded(stack[depth - 2] + stack[depth - 1], wide);
        }
    }
    for (; depth > 1; depth--) {
        stack[depth - 2] = rounded(stack[depth - 2] + stack[depth - 1], wide);
    }
    return rounded(stack[0], r->call->dtype);
}

/* The chain of the ring: from the rank after the block's owner round to the owner. */
static double ring_sum(const td_reference *r, int64_t i) {
    int block = block_of(r, i);
    td_dtype wide = r->call->dtype == TD_F64 ? TD_F64 : TD_F32;
    double sum = td_reference_input(r, (block + 1) % r->ranks, i);
    for (int k = 2; k <= r->ranks; k++) {
        sum = rounded(sum + td_reference_input(r, (block + k) % r->ranks, i), wide);
    }
    return rounded(sum, r->call->dtype);
}

bool td_reference_near(const td_reference *r, int rank, int64_t i, const unsigned char *have) {
    int from, last;
    int64_t at;
    td_dtype dtype = r->call->dtype;
    double value = value_of(have, dtype);
    if (source_of(r, rank, i, &from, &at)) {
        return value == td_reference_input(r, from, at);
    }
    if (!summands_of(r, rank, i, &last)) {
        return true;
    }
    if (strcmp(r->row->algorithm, "tree") == 0) {
        return value == tree_sum(r, i);
    }
    if (strcmp(r->row->algorithm, "ring") == 0) {
        return value == ring_sum(r, i);
    }
    double sum = 0, magnitude = 0;
    for (int k = 0; k < last; k++) {
        sum += td_reference_input(r, k, i);
        magnitude += fabs(td_reference_input(r, k, i));
    }
    double eps = dtype == TD_F64 ? 0x1p-53 : 0x1p-24;
    double bound = (last + 1) * eps * magnitude + (dtype == TD_BF16 ? 0x1p-8 * fabs(sum) : 0);
    return fabs(value - sum) <= bound + 1e-300;
}
