/* SPDX-License-Identifier: Apache-2.0 */
#include "stand_ins.h"

#define TD_KERNEL(op, isa, suffix)
#define TD_OP(op, mix, doc)                                                                        \
    td_##op##_fn td_##op##__as_avx2, td_##op##__as_avx512;                                         \
    static void avx2_##op(const void *args, int64_t first, int64_t last, void *scratch) {          \
        td_##op##__as_avx2(args, first, last, scratch);                                            \
    }                                                                                              \
    static void avx512_##op(const void *args, int64_t first, int64_t last, void *scratch) {        \
        td_##op##__as_avx512(args, first, last, scratch);                                          \
    }
#include "kernels/kernels.inc"
#undef TD_OP

static const struct {
    td_kernel_fn *avx2, *avx512;
} stand_ins[TD_OP_COUNT] = {
#define TD_OP(op, mix, doc) [TD_OP_##op] = {avx2_##op, avx512_##op},
#include "kernels/kernels.inc"
#undef TD_OP
};
#undef TD_KERNEL

bool stand_in_for(const td_kernel *row, td_kernel *out) {
    if (row->isa == TD_ISA_PORTABLE) {
        return false;
    }
    *out = *row;
    out->isa = TD_ISA_PORTABLE;
    out->run = row->isa == TD_ISA_AVX2 ? stand_ins[row->op].avx2 : stand_ins[row->op].avx512;
    return true;
}
