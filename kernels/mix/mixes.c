/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/mix.h"

const td_mix_row td_mixes[TD_MIX_COUNT] = {
#define TD_MIX_ROW(mix, ...) [TD_MIX_##mix] = {__VA_ARGS__},
    TD_MIX_MAP(TD_MIX_ROW)
#undef TD_MIX_ROW
};

int td_mix_ways(td_mix mix) {
    const td_mix_row *row = &td_mixes[mix];
    return row->stores > 0 && !row->in_place ? TD_MIX_WAYS : TD_MIX_STREAM;
}

uint32_t td_mix_run(td_isa isa, const td_mix_pass *pass) {
    return isa >= TD_ISA_AVX512 ? td_mix__avx512(pass)
           : isa >= TD_ISA_AVX2 ? td_mix__avx2(pass)
                                : td_mix__portable(pass);
}

double td_mix_bytes(const td_mix_pass *pass) {
    const td_mix_row *row = &td_mixes[pass->mix];
    return (double)pass->n * (row->loads * row->load_bytes + row->stores * row->store_bytes);
}
