/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "kernels/kernel_example.h"
#include "kernels/mix.h"

enum { WORDS = 1024, AROUND = 16, USED = 256 }; /* of a stream; `USED` elements are moved */

static uint32_t (*now)[WORDS], (*before)[WORDS];
static td_arena arena;

static void allocate(void) {
    size_t bytes = TD_MIX_STREAMS * sizeof *now;
    cr_assert_eq(td_arena_create(2 * bytes, &arena), TD_OK);
    now = (void *)arena.base;
    before = (void *)(arena.base + bytes);
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, 11);
    for (int k = 0; k < TD_MIX_STREAMS; k++) {
        for (int i = 0; i < WORDS; i++) {
            before[k][i] = td_rng_u32(&rng);
        }
    }
}

static void release(void) {
    td_arena_destroy(&arena);
}

TestSuite(mix, .init = allocate, .fini = release);

/* Word i of a stored stream that is apart: a whole vector is stored, of the loaded one, of two of
 * them joined, or of one twice. */
static uint32_t expected_apart(const td_mix_row *row, int i, uint32_t mask) {
    uint32_t value = mask;
    int vector = i / 16, lane = i % 16;
    for (int k = 0; k < row->loads; k++) {
        if (row->load_bytes > row->store_bytes) {
            value ^= before[k][AROUND + 32 * vector + lane];
            value ^= before[k][AROUND + 32 * vector + 16 + lane];
        } else if (row->load_bytes < row->store_bytes) {
            value ^= before[k][AROUND + vector / 2 * 16 + lane];
        } else {
            value ^= before[k][AROUND + i];
        }
    }
    return value;
}

static void check_pass(td_isa isa, td_mix mix, td_mix_way way) {
    const td_mix_row *row = &td_mixes[mix];
    memcpy(now, before, TD_MIX_STREAMS * sizeof *now);
    td_mix_pass pass = {.mix = mix, .way = way, .n = USED, .mask = 0x5A17C3F1};
    for (int k = 0; k < TD_MIX_STREAMS; k++) {
        pass.stream[k] = (unsigned char *)&now[k][AROUND];
    }
    uint32_t sum = td_mix_run(isa, &pass), loaded = 0;
    int from_words = USED * row->load_bytes / 4, to_words = USED * row->store_bytes / 4;
    for (int k = 0; k < TD_MIX_STREAMS; k++) {
        bool loads = k < row->loads;
        bool stores =
            row->in_place ? k < row->stores : k >= row->loads && k < row->loads + row->stores;
        for (int i = 0; i < WORDS; i++) {
            int at = i - AROUND;
            uint32_t want = before[k][i];
            loaded ^= loads && at >= 0 && at < from_words ? want : 0;
            if (stores && at >= 0 && at < to_words) {
                want = row->in_place ? want ^ pass.mask : expected_apart(row, at, pass.mask);
            }
            cr_assert_eq(now[k][i], want, "%s %s way %d: stream %d word %d", td_isa_name(isa),
                         row->name, (int)way, k, at);
        }
    }
    cr_assert_eq(sum, loaded, "%s %s way %d: not all was loaded", td_isa_name(isa), row->name,
                 (int)way);
}

Test(mix, every_way_moves_exactly_its_streams) {
    for (td_isa isa = TD_ISA_PORTABLE; isa <= td_isa_native() && isa <= TD_ISA_AVX512; isa++) {
        for (td_mix mix = TD_MIX_NONE; ++mix < TD_MIX_COUNT;) {
            for (int way = 0; way < td_mix_ways(mix); way++) {
                check_pass(isa, mix, (td_mix_way)way);
            }
        }
    }
}

/* The first shape of a step, by what it reads and writes, has the mix that the table names. */
Test(mix, the_table_names_what_the_buffers_say) {
    for (int op = 0; op < TD_OP_COUNT; op++) {
        td_kernel_example *example;
        td_mix_pass pass;
        if (td_ops[op].mix == TD_MIX_NONE) {
            continue;
        }
        cr_assert_eq(td_kernel_example_create((td_op_id)op, TD_EXAMPLE_QUICK, 0, 1, &example),
                     TD_OK, "%s", td_error());
        td_mix found = td_kernel_example_mix(example, &pass);
        cr_assert_eq(found, td_ops[op].mix, "%s: the table says %s, its buffers %s",
                     td_ops[op].name, td_mixes[td_ops[op].mix].name, td_mixes[found].name);
        td_kernel_example_destroy(example);
    }
}

/* The last quick shape of these is larger than any cache, so rows store past the caches. */
Test(mix, outputs_larger_than_caches_have_the_same_bits) {
    static const td_op_id ops[] = {TD_OP_layernorm_f32,      TD_OP_gelu_f32,
                                   TD_OP_rows_copy_f32,      TD_OP_f32_to_bf16,
                                   TD_OP_embedding_grad_f32, TD_OP_bf16_to_f32};
    int count;
    const td_kernel *rows = td_kernels(&count);
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        td_kernel_example *example;
        int64_t last = td_kernel_example_cases(ops[i], TD_EXAMPLE_QUICK) - 1;
        cr_assert_eq(td_kernel_example_create(ops[i], TD_EXAMPLE_QUICK, last, 1, &example), TD_OK);
        td_kernel_example_run(example, td_kernel_example_portable(ops[i]), 1);
        cr_assert_eq(td_kernel_example_keep(example), TD_OK);
        for (int r = 0; r < count; r++) {
            if (rows[r].op != ops[i] || rows[r].isa > td_isa_native()) {
                continue;
            }
            td_kernel_example_reset(example);
            td_kernel_example_run(example, &rows[r], 3);
            cr_assert_eq(td_kernel_example_check(example, example), TD_OK, "%s: %s", rows[r].name,
                         td_error());
        }
        td_kernel_example_destroy(example);
    }
}
