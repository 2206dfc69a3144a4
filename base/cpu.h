/* SPDX-License-Identifier: Apache-2.0
 * What this CPU can execute, from cpuid and xgetbv, and what TANDEM_ISA lets us use of it.
 */
#ifndef TD_BASE_CPU_H
#define TD_BASE_CPU_H

#include <stdint.h>

#include "base/status.h"

/* One row per instruction-set level: bit, the name used by TANDEM_ISA and in case ids, what it
 * means. A level includes all above it, so the order is part of the contract. */
#define TD_ISA_MAP(X)                                                                              \
    X(TD_ISA_PORTABLE, 0, "portable", "C11 only")                                                  \
    X(TD_ISA_AVX2, 1, "avx2", "AVX2, FMA, F16C, BMI2")                                             \
    X(TD_ISA_AVX512, 2, "avx512", "AVX-512 F, DQ, BW, VL")                                         \
    X(TD_ISA_AVX512_BF16, 3, "avx512_bf16", "AVX-512 with BF16 dot products")                      \
    X(TD_ISA_AMX_BF16, 4, "amx_bf16", "AVX-512 BF16, and tiles of BF16 (AMX)")

typedef enum td_isa {
#define TD_ISA_ENUM(name, level, text, meaning) name = (level),
    TD_ISA_MAP(TD_ISA_ENUM)
#undef TD_ISA_ENUM
        TD_ISA_COUNT
} td_isa;

/* The highest level the CPU and the operating system support. The first call asks the system for
 * the tile registers, for this process and all it starts. */
td_isa td_isa_native(void);

/* The level in use: native, lowered by TANDEM_ISA. An unknown name, or a level this CPU lacks, is
 * TD_EUSAGE with the list of valid names. Read once; later calls return the same. */
td_status td_isa_active(td_isa *out);

/* The same for a CPU that offers `native`; asked NULL: all of it. */
td_status td_isa_choose(const char *asked, td_isa native, td_isa *out);

const char *td_isa_name(td_isa isa);
td_status td_isa_parse(const char *name, td_isa *out);

/* Vendor, family, model, stepping and brand string as cpuid says them; features = space-separated
 * flag names. */
typedef struct td_cpu_info {
    char vendor[13];
    char brand[49];
    int family, model, stepping;
    char features[256];
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, leaf7_edx, leaf7_1_eax;
    uint64_t xcr0;
} td_cpu_info;

void td_cpu_info_read(td_cpu_info *out);

/* Sets flush-to-zero and denormals-are-zero for the calling thread. Every thread that computes
 * calls it, so that results do not depend on what a creator thread had set. */
void td_cpu_flush_denormals(void);

#endif
