/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cpu.h"

#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const isa_names[TD_ISA_COUNT] = {
#define TD_ISA_NAME(name, level, text, meaning) [level] = text,
    TD_ISA_MAP(TD_ISA_NAME)
#undef TD_ISA_NAME
};

static const char isa_list[] =
#define TD_ISA_TEXT(name, level, text, meaning) " " text
    TD_ISA_MAP(TD_ISA_TEXT)
#undef TD_ISA_TEXT
    ;

const char *td_isa_name(td_isa isa) {
    return isa_names[isa];
}

td_status td_isa_parse(const char *name, td_isa *out) {
    for (int isa = 0; isa < TD_ISA_COUNT; isa++) {
        if (strcmp(name, isa_names[isa]) == 0) {
            *out = (td_isa)isa;
            return TD_OK;
        }
    }
    return td_fail(TD_EUSAGE, "unknown ISA \"%s\"; expected one of%s", name, isa_list);
}

static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int bit(uint32_t word, int index) {
    return (int)(word >> index & 1);
}

static void copy_words(char *to, const uint32_t *words, int count) {
    memcpy(to, words, (size_t)count * sizeof *words);
    to[(size_t)count * sizeof *words] = '\0';
}

static void read_features(td_cpu_info *info) {
    const struct {
        const char *name;
        int present;
    } flags[] = {
        {"sse4_2", bit(info->leaf1_ecx, 20)},     {"pclmulqdq", bit(info->leaf1_ecx, 1)},
        {"avx", bit(info->leaf1_ecx, 28)},        {"fma", bit(info->leaf1_ecx, 12)},
        {"f16c", bit(info->leaf1_ecx, 29)},       {"avx2", bit(info->leaf7_ebx, 5)},
        {"bmi2", bit(info->leaf7_ebx, 8)},        {"avx512f", bit(info->leaf7_ebx, 16)},
        {"avx512dq", bit(info->leaf7_ebx, 17)},   {"avx512bw", bit(info->leaf7_ebx, 30)},
        {"avx512vl", bit(info->leaf7_ebx, 31)},   {"avx512_vnni", bit(info->leaf7_ecx, 11)},
        {"vpclmulqdq", bit(info->leaf7_ecx, 10)}, {"avx512_bf16", bit(info->leaf7_1_eax, 5)},
        {"avx_vnni", bit(info->leaf7_1_eax, 4)},  {"amx_bf16", bit(info->leaf7_edx, 22)},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        size_t size = strlen(flags[i].name);
        if (flags[i].present && used + size + 2 <= sizeof info->features) {
            if (used > 0) {
                info->features[used++] = ' ';
            }
            memcpy(info->features + used, flags[i].name, size + 1);
            used += size;
        }
    }
}

void td_cpu_info_read(td_cpu_info *out) {
    td_cpu_info info = {0};
    uint32_t a, b, c, d;
    __cpuid(0, a, b, c, d);
    uint32_t max_leaf = a;
    copy_words(info.vendor, (uint32_t[]){b, d, c}, 3);
    __cpuid(1, a, b, c, d);
    info.leaf1_ecx = c;
    int base_family = (int)(a >> 8 & 15), base_model = (int)(a >> 4 & 15);
    info.stepping = (int)(a & 15);
    info.family = base_family == 15 ? base_family + (int)(a >> 20 & 255) : base_family;
    info.model =
        base_family == 15 || base_family == 6 ? base_model + (int)(a >> 16 & 15) * 16 : base_model;
    if (max_leaf >= 7) {
        uint32_t max_subleaf;
        __cpuid_count(7, 0, max_subleaf, info.leaf7_ebx, info.leaf7_ecx, info.leaf7_edx);
        if (max_subleaf >= 1) {
            __cpuid_count(7, 1, info.leaf7_1_eax, b, c, d);
        }
    }
    if (bit(info.leaf1_ecx, 27)) {
        info.xcr0 = read_xcr0();
    }
    __cpuid(0x80000000, a, b, c, d);
    if (a >= 0x80000004) {
        uint32_t words[12];
        for (uint32_t leaf = 0; leaf < 3; leaf++) {
            __cpuid(0x80000002 + leaf, words[leaf * 4], words[leaf * 4 + 1], words[leaf * 4 + 2],
                    words[leaf * 4 + 3]);
        }
        copy_words(info.brand, words, 12);
        for (size_t end = strlen(info.brand); end > 0 && info.brand[end - 1] == ' ';) {
            info.brand[--end] = '\0';
        }
    }
    read_features(&info);
    *out = info;
}

/* Tiles are 8 KiB more to save at a context switch, so Linux has a process ask before it uses them
 * (ARCH_REQ_XCOMP_PERM of the tile data, component 18). */
static int tiles_allowed(const td_cpu_info *info) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return (info->xcr0 & 0x60000) == 0x60000 && bit(info->leaf7_edx, 22) &&
           bit(info->leaf7_edx, 24) && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static td_isa read_native(void) {
    td_cpu_info info;
    td_cpu_info_read(&info);
    int ymm = (info.xcr0 & 0x6) == 0x6, zmm = (info.xcr0 & 0xE6) == 0xE6;
    int avx2 = ymm && bit(info.leaf1_ecx, 28) && bit(info.leaf1_ecx, 12) &&
               bit(info.leaf1_ecx, 29) && bit(info.leaf7_ebx, 5) && bit(info.leaf7_ebx, 8);
    int avx512 = avx2 && zmm && bit(info.leaf7_ebx, 16) && bit(info.leaf7_ebx, 17) &&
                 bit(info.leaf7_ebx, 30) && bit(info.leaf7_ebx, 31);
    if (avx512 && bit(info.leaf7_1_eax, 5)) {
        return tiles_allowed(&info) ? TD_ISA_AMX_BF16 : TD_ISA_AVX512_BF16;
    }
    return avx512 ? TD_ISA_AVX512 : avx2 ? TD_ISA_AVX2 : TD_ISA_PORTABLE;
}

/* Read once: cpuid traps into the hypervisor, some microseconds a call. */
td_isa td_isa_native(void) {
    static _Atomic int known = -1;
    int native = atomic_load_explicit(&known, memory_order_relaxed);
    if (native < 0) {
        native = (int)read_native();
        atomic_store_explicit(&known, native, memory_order_relaxed);
    }
    return (td_isa)native;
}

td_status td_isa_choose(const char *asked, td_isa native, td_isa *out) {
    td_isa isa = native;
    if (asked != NULL && td_isa_parse(asked, &isa) != TD_OK) {
        return td_fail(TD_EUSAGE, "TANDEM_ISA=%s is unknown; expected one of%s", asked, isa_list);
    }
    if (isa > native) {
        return td_fail(TD_EUSAGE, "TANDEM_ISA=%s: this CPU offers %s at most, of%s", asked,
                       td_isa_name(native), isa_list);
    }
    *out = isa;
    return TD_OK;
}

td_status td_isa_active(td_isa *out) {
    static _Atomic int known = -1;
    int cached = atomic_load_explicit(&known, memory_order_relaxed);
    if (cached < 0) {
        td_isa chosen;
        TD_TRY(td_isa_choose(getenv("TANDEM_ISA"), td_isa_native(), &chosen));
        cached = (int)chosen;
        atomic_store_explicit(&known, cached, memory_order_relaxed);
    }
    *out = (td_isa)cached;
    return TD_OK;
}

void td_cpu_flush_denormals(void) {
    _mm_setcsr(_mm_getcsr() | 0x8040);
}
