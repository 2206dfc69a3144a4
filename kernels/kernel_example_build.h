/* SPDX-License-Identifier: Apache-2.0
 * between kernel_example.c, which places, fills and checks buffers, and kernel_example_cases.c,
 * which says what buffers a case has.
 */
#ifndef TD_KERNELS_KERNEL_EXAMPLE_BUILD_H
#define TD_KERNELS_KERNEL_EXAMPLE_BUILD_H

#include <string.h>

#include "base/memory.h"
#include "kernels/kernel_example.h"

enum { EXAMPLE_BUFFERS = 20, EXAMPLE_SLOTS = 24, EXAMPLE_SHAPE = 96 };

/* One row of the list of cases; what the numbers mean is the builder's business. */
typedef struct example_case {
    td_op_id op;
    td_kernel_example_size size;
    int64_t d[TD_EXAMPLE_DIMS];
} example_case;

/* How a buffer's elements start: f32 of random sign in +-scale * [1/8, 2), the same without sign,
 * i32 in [0, scale), any finite bf16, or left to the operation's finish function. */
typedef enum example_fill {
    FILL_LATER,
    FILL_SIGNED,
    FILL_POSITIVE,
    FILL_IDS,
    FILL_CAPTIONS,
    FILL_BF16
} example_fill;

typedef struct example_buffer {
    td_kernel_example_buffer shown;
    example_fill fill;
    float scale;
    size_t offset, bytes; /* in the arena; from the first element to the last */
    unsigned char *start_copy, *kept_copy;
    uint64_t hash;
} example_buffer;

/* A pointer of the arguments that receives buffer's address plus `elements`. */
typedef struct example_slot {
    void *pointer;
    int buffer;
    int64_t elements;
} example_slot;

typedef union example_args {
#define TD_OP(op, mix, doc) td_##op##_args op;
#define TD_KERNEL(op, isa, suffix)
#include "kernels/kernels.inc"
#undef TD_OP
#undef TD_KERNEL
} example_args;

struct td_kernel_example {
    td_op_id op;
    example_case spec;
    example_args args;
    char shape[EXAMPLE_SHAPE];
    example_buffer buffers[EXAMPLE_BUFFERS];
    td_kernel_example_buffer shown[EXAMPLE_BUFFERS];
    example_slot slots[EXAMPLE_SLOTS];
    int n_buffers, n_slots, scratch;
    td_arena arena;
    td_kernel_example_placement placement;
    uint64_t seed;
};

/* In kernel_example.c, for builders. `pointer` is the address of a pointer inside example->args. */
int example_add(td_kernel_example *example, const char *name, td_kernel_example_role role,
                int64_t rows, int64_t cols, int64_t ld, example_fill fill, float scale,
                void *pointer);
int example_add_bytes(td_kernel_example *example, const char *name, td_kernel_example_role role,
                      int64_t count, size_t element_bytes, example_fill fill, float scale,
                      void *pointer);
void example_point(td_kernel_example *example, void *pointer, int buffer, int64_t elements);
/* Gives every pointer some address: whether an epilogue or blocks are there shows in pointers,
 * which have no buffers yet. */
void example_point_anywhere(td_kernel_example *example);
void example_shape(td_kernel_example *example, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The usual kinds of buffers. */
static inline int example_in(td_kernel_example *example, const char *name, int64_t rows,
                             int64_t cols, int64_t ld, void *pointer) {
    return example_add(example, name, TD_EXAMPLE_IN, rows, cols, ld, FILL_SIGNED, 1, pointer);
}

static inline int example_out(td_kernel_example *example, const char *name, int64_t rows,
                              int64_t cols, int64_t ld, void *pointer) {
    return example_add(example, name, TD_EXAMPLE_OUT, rows, cols, ld, FILL_LATER, 0, pointer);
}

static inline int example_inout(td_kernel_example *example, const char *name, int64_t rows,
                                int64_t cols, int64_t ld, void *pointer) {
    return example_add(example, name, TD_EXAMPLE_INOUT, rows, cols, ld, FILL_SIGNED, 1, pointer);
}

/* A vector without sign: norms, deviations. */
static inline int example_positive(td_kernel_example *example, const char *name, int64_t n,
                                   void *pointer) {
    return example_add(example, name, TD_EXAMPLE_IN, 1, n, n, FILL_POSITIVE, 1, pointer);
}

static inline int example_ids(td_kernel_example *example, int64_t n, int64_t vocab, void *pointer) {
    return example_add_bytes(example, "ids", TD_EXAMPLE_IN, n, sizeof(int32_t), FILL_IDS,
                             (float)vocab, pointer);
}

/* Bounds of blocks, for fill_starts to fill when the example is finished. */
static inline int example_starts(td_kernel_example *example, int64_t blocks, void *pointer) {
    return example_add_bytes(example, "starts", TD_EXAMPLE_IN, blocks + 1, sizeof(int64_t),
                             FILL_LATER, 0, pointer);
}

static inline const example_buffer *example_buffer_named(const td_kernel_example *example,
                                                         const char *name) {
    for (int i = 0; i < example->n_buffers; i++) {
        if (strcmp(example->buffers[i].shown.name, name) == 0) {
            return &example->buffers[i];
        }
    }
    return NULL;
}

/* Blocks that grow, the first of them empty when there are few rows. */
static inline void example_fill_starts(td_kernel_example *example, int64_t rows, int64_t blocks) {
    const example_buffer *buffer = example_buffer_named(example, "starts");
    int64_t *at = buffer != NULL ? buffer->shown.data : NULL;
    for (int64_t b = 0; b <= blocks && at != NULL; b++) {
        at[b] = rows * b * b / (blocks * blocks);
    }
}

static inline float *example_data(td_kernel_example *example, int buffer) {
    return example->buffers[buffer].shown.data;
}

/* Runs the portable row of an operation over all its tiles, for quantities a case needs. */
td_status example_compute(td_op_id op, const void *args);

/* In kernel_example_attention.c. */
void example_build_attention(td_kernel_example *example, const int64_t *d);
void example_build_attention_grad(td_kernel_example *example, const int64_t *d);
td_status example_finish_attention(td_kernel_example *example);
td_status example_finish_attention_grad(td_kernel_example *example);

/* In kernel_example_bags.c. */
void example_build_bag(td_kernel_example *example, const int64_t *d);
void example_build_bag_grad(td_kernel_example *example, const int64_t *d);
void example_build_cross_entropy(td_kernel_example *example, const int64_t *d);
td_status example_finish_bag(td_kernel_example *example);
td_status example_finish_bag_grad(td_kernel_example *example);

/* In kernel_example_losses.c. */
void example_build_contrastive_lse(td_kernel_example *example, const int64_t *d);
void example_build_contrastive_grad(td_kernel_example *example, const int64_t *d);
void example_build_pairs_lse(td_kernel_example *example, const int64_t *d);
void example_build_pairs_grad(td_kernel_example *example, const int64_t *d);
void example_build_scores_softmax(td_kernel_example *example, const int64_t *d);
void example_build_scores_sigmoid(td_kernel_example *example, const int64_t *d);
void example_build_sigmoid(td_kernel_example *example, const int64_t *d);
td_status example_finish_contrastive_grad(td_kernel_example *example);
td_status example_finish_pairs_lse(td_kernel_example *example);
td_status example_finish_pairs_grad(td_kernel_example *example);
td_status example_finish_sigmoid(td_kernel_example *example);

/* In kernel_example_cases.c. */
const example_case *example_case_find(td_op_id op, int size, int64_t index);
void example_build(td_kernel_example *example);
td_status example_finish(td_kernel_example *example);

#endif
