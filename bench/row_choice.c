/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/row_choice.h"

#include <stdio.h>
#include <stdlib.h>

#include "bench/ceiling.h"

/* Of the rows of op, whose own instruction has the peak of a precision. */
static td_status choose(td_op_id op, td_precision precision, char text[TD_ROW_CHOICE_TEXT]) {
    const td_isa own = td_kernel_selected(op)->isa;
    const td_peak_kind kind = td_peak_of_code(own, precision);
    const td_peak *fma, *special;
    if (kind == TD_PEAK_FMA) {
        return TD_OK;
    }
    TD_TRY(td_ceiling_get(TD_PEAK_FMA, TD_ISA_AVX512, 1, 0, false, &fma));
    TD_TRY(td_ceiling_get(kind, own, 1, 0, false, &special));
    double rate[TD_ISA_COUNT] = {0};
    rate[TD_ISA_AVX512] = fma->value;
    rate[own] = special->value;
    td_kernel_choose(op, rate);
    snprintf(text, TD_ROW_CHOICE_TEXT, "%s by %s: %s %.0f, %s %.0f GFLOP/s", td_ops[op].name,
             td_kernel_selected(op)->name, td_peak_row_of(TD_PEAK_FMA)->name, fma->value,
             td_peak_row_of(kind)->name, special->value);
    return TD_OK;
}

td_status td_rows_choose(td_precision precision, char text[TD_ROW_CHOICE_TEXT]) {
    const td_op_id attention[] = {td_precision_attention(precision),
                                  td_precision_attention_grad(precision)};
    text[0] = '\0';
    if (getenv("TANDEM_ISA") != NULL) {
        return TD_OK;
    }
    for (size_t i = 0; i < sizeof attention / sizeof attention[0]; i++) {
        char unsaid[TD_ROW_CHOICE_TEXT];
        TD_TRY(choose(attention[i], td_precision_of_op(attention[i]), unsaid));
    }
    return choose(td_precision_product(precision), precision, text);
}
