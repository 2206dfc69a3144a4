/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/attention_bf16/attention_bf16_plan.h"
#include "kernels/kernel.h"

int64_t td_attention_bf16_tiles(const td_attention_bf16_args *args) {
    return td_attention_f32_tiles(args);
}

double td_attention_bf16_flops(const td_attention_bf16_args *args) {
    return td_attention_f32_flops(args);
}

double td_attention_bf16_bytes(const td_attention_bf16_args *args) {
    return td_attention_f32_bytes(args);
}

int64_t td_attention_bf16_scratch(const td_attention_bf16_args *args) {
    return td_attention_bf16_floats(args) * (int64_t)sizeof(float);
}

int64_t td_attention_grad_bf16_tiles(const td_attention_grad_bf16_args *args) {
    return td_attention_grad_f32_tiles(args);
}

double td_attention_grad_bf16_flops(const td_attention_grad_bf16_args *args) {
    return td_attention_grad_f32_flops(args);
}

double td_attention_grad_bf16_bytes(const td_attention_grad_bf16_args *args) {
    return td_attention_grad_f32_bytes(args);
}

int64_t td_attention_grad_bf16_scratch(const td_attention_grad_bf16_args *args) {
    return td_attention_grad_bf16_floats(&args->forward) * (int64_t)sizeof(float);
}
