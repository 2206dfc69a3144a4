/* SPDX-License-Identifier: Apache-2.0
 * Buffers of the cases of bags of ids, and of the loss that trains with them.
 */
#include "kernels/kernel_example_build.h"

/* About the norm of a row 4 wide: some of the table's rows are longer, some are not. */
static const float MAX_NORM = 1.5f;

static void offsets(td_kernel_example *example, int64_t rows, void *pointer) {
    example_add_bytes(example, "offsets", TD_EXAMPLE_IN, rows + 1, sizeof(int32_t), FILL_LATER, 0,
                      pointer);
}

/* Bags that grow, the first of them empty. */
static void fill_offsets(td_kernel_example *example, int64_t rows, int64_t n) {
    int32_t *at = example_buffer_named(example, "offsets")->shown.data;
    for (int64_t r = 0; r <= rows; r++) {
        at[r] = (int32_t)(n * r * r / (rows * rows));
    }
}

void example_build_bag(td_kernel_example *example, const int64_t *d) {
    td_embedding_bag_f32_args *args = &example->args.embedding_bag_f32;
    *args = (td_embedding_bag_f32_args){.rows = d[0],
                                        .vocab = d[1],
                                        .width = d[2],
                                        .n = d[3],
                                        .max_norm = d[4] ? MAX_NORM : 0,
                                        .accumulate = d[5] != 0,
                                        .ldy = d[2] + d[6]};
    offsets(example, d[0], &args->offsets);
    example_ids(example, d[3], d[1], &args->ids);
    example_in(example, "coefficients", 1, d[3], d[3], &args->coefficients);
    example_in(example, "table", d[1], d[2], d[2], &args->table);
    if (args->accumulate) {
        example_inout(example, "y", d[0], d[2], args->ldy, &args->y);
    } else {
        example_out(example, "y", d[0], d[2], args->ldy, &args->y);
    }
    example_shape(example, "r%lld-v%lld-c%lld-n%lld%s%s", (long long)d[0], (long long)d[1],
                  (long long)d[2], (long long)d[3], d[4] ? "-limited" : "", d[5] ? "-add" : "");
}

td_status example_finish_bag(td_kernel_example *example) {
    fill_offsets(example, example->args.embedding_bag_f32.rows, example->args.embedding_bag_f32.n);
    return TD_OK;
}

void example_build_bag_grad(td_kernel_example *example, const int64_t *d) {
    td_embedding_bag_grad_f32_args *args = &example->args.embedding_bag_grad_f32;
    *args = (td_embedding_bag_grad_f32_args){.rows = d[0],
                                             .vocab = d[1],
                                             .width = d[2],
                                             .n = d[3],
                                             .max_norm = d[4] ? MAX_NORM : 0,
                                             .lddy = d[2] + d[5]};
    offsets(example, d[0], &args->offsets);
    example_ids(example, d[3], d[1], &args->ids);
    example_in(example, "coefficients", 1, d[3], d[3], &args->coefficients);
    example_in(example, "table", d[1], d[2], d[2], &args->table);
    example_in(example, "dy", d[0], d[2], args->lddy, &args->dy);
    example_out(example, "dx", d[3], d[2], d[2], &args->dx);
    example_shape(example, "r%lld-v%lld-c%lld-n%lld%s", (long long)d[0], (long long)d[1],
                  (long long)d[2], (long long)d[3], d[4] ? "-limited" : "");
}

td_status example_finish_bag_grad(td_kernel_example *example) {
    fill_offsets(example, example->args.embedding_bag_grad_f32.rows,
                 example->args.embedding_bag_grad_f32.n);
    return TD_OK;
}

void example_build_cross_entropy(td_kernel_example *example, const int64_t *d) {
    td_cross_entropy_f32_args *args = &example->args.cross_entropy_f32;
    *args = (td_cross_entropy_f32_args){
        .rows = d[0], .cols = d[1], .ld = d[1] + d[2], .scale = 1 / (float)d[0]};
    example_add(example, "logits", TD_EXAMPLE_INOUT, d[0], d[1], args->ld, FILL_SIGNED, 8,
                &args->logits);
    example_ids(example, d[0], d[1], &args->labels);
    example_out(example, "row_loss", 1, d[0], d[0], &args->row_loss);
    example_out(example, "row_hit", 1, d[0], d[0], &args->row_hit);
    example_shape(example, "r%lld-c%lld", (long long)d[0], (long long)d[1]);
}
