/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "collectives/comm_state.h"
#include "collectives/elements.h"

static float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* All 65,536 bf16 values, and for each the f32 values around the middle to the next one. */
Test(elements, bf16_rounds_to_nearest_even) {
    for (uint32_t high = 0; high < 65536; high++) {
        static const uint32_t lows[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
        for (int i = 0; i < 6; i++) {
            float in = as_float(high << 16 | lows[i]), wide;
            uint16_t out, back = (uint16_t)high;
            td_narrow_bf16(&out, &in, 1);
            td_widen_bf16(&wide, &out, 1);
            if (isnan(in)) {
                cr_assert(isnan(wide), "NaN %x%04x became %x", high, lows[i], out);
                continue;
            }
            bool up = lows[i] > 0x8000 || (lows[i] == 0x8000 && (high & 1) != 0);
            cr_assert_eq(out, (uint16_t)(back + up), "%x%04x became %x", high, lows[i], out);
        }
    }
}

Test(elements, sums_of_any_length) {
    float a[70], b[70], sum[70];
    uint16_t c[70], d[70];
    for (int n = 0; n <= 67; n++) {
        for (int i = 0; i < 70; i++) {
            a[i] = (float)i;
            b[i] = 100 - 3 * (float)i;
            sum[i] = -1;
        }
        td_narrow_bf16(c, a, 70);
        td_narrow_bf16(d, b, 70);
        td_add_f32(sum, a, b, n);
        td_accumulate(a, b, n, TD_F32);
        td_accumulate(c, d, n, TD_BF16);
        for (int i = 0; i < 70; i++) {
            float wide;
            td_widen_bf16(&wide, &c[i], 1);
            cr_assert_eq(sum[i], i < n ? 100 - 2 * (float)i : -1);
            cr_assert_eq(a[i], i < n ? 100 - 2 * (float)i : (float)i);
            cr_assert_eq(wide, a[i]);
        }
    }
}

Test(elements, parts_are_whole_lines_and_cover_all) {
    for (int64_t size = 2; size <= 4; size += 2) {
        for (int64_t workers = 1; workers <= 7; workers++) {
            for (int64_t begin = 0; begin < 70; begin += 3) {
                for (int64_t end = begin; end < 200; end += 7) {
                    int64_t next = begin;
                    for (int64_t id = 0; id < workers; id++) {
                        int64_t first = begin, last = end;
                        td_comm_part(id, workers, size, &first, &last);
                        cr_assert(first <= last);
                        if (first == last) {
                            continue;
                        }
                        cr_assert_eq(first, next);
                        cr_assert(last == end || last * size % 64 == 0, "a line has two writers");
                        next = last;
                    }
                    cr_assert_eq(next, end);
                }
            }
        }
    }
}
