/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"

/* Every row behind one signature. A wrapper rather than a cast: calling through another function
 * type is undefined. */
#define TD_OP(op, mix, doc)
#define TD_KERNEL(op, isa, suffix)                                                                 \
    static void run_##op##__##suffix(const void *args, int64_t first, int64_t last,                \
                                     void *scratch) {                                              \
        td_##op##__##suffix(args, first, last, scratch);                                           \
    }
#include "kernels/kernels.inc"
#undef TD_KERNEL

static const td_kernel kernels[] = {
#define TD_KERNEL(op, isa, suffix) {TD_OP_##op, isa, #suffix, run_##op##__##suffix},
#include "kernels/kernels.inc"
#undef TD_KERNEL
};
#undef TD_OP

enum { N_KERNELS = sizeof kernels / sizeof kernels[0] };

/* Written by td_kernels_select before any worker runs, only read afterwards. */
static const td_kernel *selected[TD_OP_COUNT];
static td_isa allowed;

#define TD_KERNEL(op, isa, suffix)
#define TD_OP(op, mix, doc)                                                                        \
    static void run_##op(const void *args, int64_t first, int64_t last, void *scratch) {           \
        td_kernel_selected(TD_OP_##op)->run(args, first, last, scratch);                           \
    }                                                                                              \
    static int64_t tiles_##op(const void *args) {                                                  \
        return td_##op##_tiles(args);                                                              \
    }                                                                                              \
    static double flops_##op(const void *args) {                                                   \
        return td_##op##_flops(args);                                                              \
    }                                                                                              \
    static double bytes_##op(const void *args) {                                                   \
        return td_##op##_bytes(args);                                                              \
    }                                                                                              \
    static int64_t scratch_##op(const void *args) {                                                \
        return td_##op##_scratch(args);                                                            \
    }
#include "kernels/kernels.inc"
#undef TD_OP

const td_op td_ops[TD_OP_COUNT] = {
#define TD_OP(op, mix, doc)                                                                        \
    [TD_OP_##op] = {#op,         doc,        run_##op,     tiles_##op,                             \
                    flops_##op,  bytes_##op, scratch_##op, sizeof(td_##op##_args),                 \
                    TD_MIX_##mix},
#include "kernels/kernels.inc"
#undef TD_OP
};
#undef TD_KERNEL

const td_kernel *td_kernels(int *count) {
    *count = N_KERNELS;
    return kernels;
}

td_status td_kernels_select(td_isa isa) {
    td_isa native = td_isa_native();
    if (isa > native) {
        return td_fail(TD_EUSAGE, "kernels for %s: this CPU offers %s at most", td_isa_name(isa),
                       td_isa_name(native));
    }
    const td_kernel *chosen[TD_OP_COUNT] = {NULL};
    for (int i = 0; i < N_KERNELS; i++) {
        if (chosen[kernels[i].op] == NULL && kernels[i].isa <= isa) {
            chosen[kernels[i].op] = &kernels[i];
        }
    }
    for (int op = 0; op < TD_OP_COUNT; op++) {
        if (chosen[op] == NULL) {
            return td_fail(TD_ESKIP, "%s has no implementation for %s", td_ops[op].name,
                           td_isa_name(isa));
        }
    }
    for (int op = 0; op < TD_OP_COUNT; op++) {
        selected[op] = chosen[op];
    }
    allowed = isa;
    return TD_OK;
}

void td_kernels_describe(td_isa native, td_isa active, td_text *out) {
    int rows[TD_ISA_COUNT] = {0}, runnable = 0, left_out = 0;
    for (int i = 0; i < N_KERNELS; i++) {
        rows[kernels[i].isa]++;
        runnable += kernels[i].isa <= native;
        left_out += kernels[i].isa <= native && kernels[i].isa > active;
    }
    td_text_printf(out, "Kernel rows native on this host: %d of %d", runnable, N_KERNELS);
    for (int isa = 0; isa < TD_ISA_COUNT; isa++) {
        td_text_printf(out, "%s%s %d of %d", isa == 0 ? " (" : ", ", td_isa_name((td_isa)isa),
                       isa <= (int)native ? rows[isa] : 0, rows[isa]);
    }
    td_text_puts(out, ")");
    if (left_out > 0) {
        td_text_printf(out, "; TANDEM_ISA=%s leaves out %d", td_isa_name(active), left_out);
    }
}

void td_kernel_choose(td_op_id op, const double rate[TD_ISA_COUNT]) {
    const td_kernel *best = td_kernel_selected(op);
    for (int i = 0; i < N_KERNELS; i++) {
        const td_kernel *row = &kernels[i];
        if (row->op == op && row->isa <= allowed && rate[row->isa] > rate[best->isa]) {
            best = row;
        }
    }
    selected[op] = best;
}

const td_kernel *td_kernel_selected(td_op_id op) {
    TD_ASSERT(selected[op] != NULL);
    return selected[op];
}
