/* SPDX-License-Identifier: Apache-2.0 */
#include "data/crc32c.h"

#include <pthread.h>
#include <stdatomic.h>

#include <isa-l/crc.h>

#include "base/cpu.h"

/* ISA-L takes an int length, hence the chunks. It neither inverts the initial value nor the result.
 */
uint32_t td_crc32c__isal(const void *data, size_t bytes) {
    enum { CHUNK = 1 << 30 };
    unsigned char *at =
        (unsigned char *)(uintptr_t)data; /* its prototype lacks the const it keeps */
    uint32_t crc = 0xffffffffu;
    while (bytes > 0) {
        int length = bytes < CHUNK ? (int)bytes : CHUNK;
        crc = crc32_iscsi(at, length, crc);
        at += length;
        bytes -= (size_t)length;
    }
    return ~crc;
}

/* slice[j][b] is the CRC register after byte b and j zero bytes, so eight look-ups advance eight
 * bytes. */
static uint32_t slice[8][256];
static pthread_once_t slice_once = PTHREAD_ONCE_INIT;

static void slice_fill(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
        }
        slice[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++) {
        for (int j = 1; j < 8; j++) {
            slice[j][b] = (slice[j - 1][b] >> 8) ^ slice[0][slice[j - 1][b] & 0xff];
        }
    }
}

uint32_t td_crc32c__portable(const void *data, size_t bytes) {
    pthread_once(&slice_once, slice_fill);
    const unsigned char *at = data;
    uint32_t crc = 0xffffffffu;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                              (uint32_t)at[3] << 24);
        crc = slice[7][low & 0xff] ^ slice[6][(low >> 8) & 0xff] ^ slice[5][(low >> 16) & 0xff] ^
              slice[4][low >> 24] ^ slice[3][at[4]] ^ slice[2][at[5]] ^ slice[1][at[6]] ^
              slice[0][at[7]];
    }
    for (; bytes > 0; bytes--, at++) {
        crc = (crc >> 8) ^ slice[0][(crc ^ *at) & 0xff];
    }
    return ~crc;
}

uint32_t td_crc32c_power(uint64_t n) {
    uint32_t power = 0x80000000u;
    for (uint64_t i = 0; i < n; i++) {
        power = (power >> 1) ^ (0x82f63b78u & (0u - (power & 1u)));
    }
    return power;
}

/* Of two polynomials, mod P. */
static uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
        product ^= (a & bit) != 0 ? b : 0;
        b = (b >> 1) ^ (0x82f63b78u & (0u - (b & 1u)));
    }
    return product;
}

uint32_t td_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_bytes) {
    uint32_t square = td_crc32c_power(8);
    for (; second_bytes > 0; second_bytes >>= 1) {
        first = (second_bytes & 1) != 0 ? multiply(first, square) : first;
        square = multiply(square, square);
    }
    return first ^ second;
}

const uint32_t td_crc32c_shift[64] = {
    0x00000000u, 0x00000000u, 0x00000000u, 0x00000000u, 0x00000000u, 0x01000000u, 0x00010000u,
    0x00000100u, 0x00000001u, 0xf26b8303u, 0x13a29877u, 0xa541927eu, 0xdd45aab8u, 0x38116facu,
    0xef306b19u, 0x68032cc8u, 0x493c7d27u, 0xf43ed648u, 0xcb567ba5u, 0x9771f7c1u, 0x3171d430u,
    0x30d23865u, 0x54075546u, 0x678efd01u, 0xf20c0dfeu, 0x5fe4dc5fu, 0x0f69022bu, 0xb93b4ce7u,
    0x3743f7bdu, 0x0d0a7dedu, 0x5c15eeb4u, 0x75d3f038u, 0xba4fc28eu, 0x2e34cb9du, 0x2dae840fu,
    0x5e3e92a0u, 0xa2158b34u, 0xf7dbcb25u, 0x15bb4109u, 0x78a7608du, 0x3da6d0cbu, 0x5a392b2fu,
    0x7ef48bd1u, 0x21c69623u, 0x33ccbbbcu, 0xff6571a2u, 0x438fa020u, 0x20fe017eu, 0xddc0152bu,
    0xb9e9e5f0u, 0xf3d78690u, 0x925b2b91u, 0x6051243fu, 0x6e9024b1u, 0x401061eeu, 0x4f08075cu,
    0x1c291d04u, 0xc786be02u, 0xe1fcf649u, 0x39283a86u, 0xa46ef4aau, 0xc90df36au, 0x0aedb6a9u,
    0xdaf383dcu};

bool td_crc32c_runs(td_crc32c_need need) {
    td_cpu_info info;
    td_isa isa;
    td_cpu_info_read(&info);
    if (td_isa_active(&isa) != TD_OK) {
        isa = TD_ISA_PORTABLE;
    }
    bool crc32 = info.leaf1_ecx >> 20 & 1, product = crc32 && (info.leaf1_ecx >> 1 & 1);
    switch (need) {
    case TD_CRC32C_VPCLMUL:
        return product && isa >= TD_ISA_AVX512 && (info.leaf7_ecx >> 10 & 1);
    case TD_CRC32C_PCLMUL:
        return product && isa > TD_ISA_PORTABLE;
    case TD_CRC32C_SSE42:
        return crc32 && isa > TD_ISA_PORTABLE;
    case TD_CRC32C_ANY:
        break;
    }
    return true;
}

static td_crc32c_fn choose;
/* Relaxed: every value it takes gives the same numbers. */
static _Atomic(td_crc32c_fn *) chosen = choose;

static uint32_t choose(const void *data, size_t bytes) {
    static const struct {
        td_crc32c_need need;
        td_crc32c_fn *crc;
    } rows[] = {
#define ROW(name, need, function) {need, function},
        TD_CRC32C_MAP(ROW)
#undef ROW
    };
    int i = 0;
    while (!td_crc32c_runs(rows[i].need)) {
        i++;
    }
    atomic_store_explicit(&chosen, rows[i].crc, memory_order_relaxed);
    return rows[i].crc(data, bytes);
}

uint32_t td_crc32c(const void *data, size_t bytes) {
    return atomic_load_explicit(&chosen, memory_order_relaxed)(data, bytes);
}
