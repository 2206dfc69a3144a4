/* SPDX-License-Identifier: Apache-2.0
 * libxsmm as a shared object with four functions: Debian has the library as an archive only. Built
 * where its headers are installed, loaded by provider.c, never needed.
 */
#include <libxsmm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TD_EXPORT __attribute__((visibility("default")))

TD_EXPORT const char *td_libxsmm_version(void);
TD_EXPORT const char *td_libxsmm_target(void);
TD_EXPORT bool td_libxsmm_sgemm(char a_trans, char b_trans, int m, int n, int k, float alpha,
                                const float *a, int lda, const float *b, int ldb, float beta,
                                float *c, int ldc);
TD_EXPORT bool td_libxsmm_bf16_gemm(bool a_trans, bool b_trans, int m, int n, int k,
                                    const uint16_t *a, int lda, const uint16_t *b, int ldb,
                                    bool accumulate, float *c, int ldc);
void sgemm_(void);
void dgemm_(void);
void sgemv_(void);
void dgemv_(void);

/* What libxsmm does not do itself it leaves to a BLAS, which would then be measured in its name:
 * the calls come here instead, and the product is refused. */
static atomic_bool left;

void sgemm_(void) {
    atomic_store(&left, true);
}
void dgemm_(void) {
    atomic_store(&left, true);
}
void sgemv_(void) {
    atomic_store(&left, true);
}
void dgemv_(void) {
    atomic_store(&left, true);
}

const char *td_libxsmm_version(void) {
    return LIBXSMM_VERSION;
}

const char *td_libxsmm_target(void) {
    libxsmm_init();
    return libxsmm_get_target_arch();
}

/* Its own tiling and threads over its generated kernels; false where it has none. */
bool td_libxsmm_sgemm(char a_trans, char b_trans, int m, int n, int k, float alpha, const float *a,
                      int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    atomic_store(&left, false);
    libxsmm_sgemm_omp(&a_trans, &b_trans, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
    return !atomic_load(&left);
}

/* It has no product of large bf16 matrices, only generated kernels for blocks of one: these loops
 * around them are ours. Blocks that reach most with its kernels: 64 columns, 32 rows, up to 1,024
 * of k. */
enum { COLS = 64, ROWS = 32, DEPTH = 1024 };

static int at_most(int count, int most) {
    return count < most ? count : most;
}

/* B's pairs of k as its kernels read them: blocks of COLS columns, each (k / 2, columns) pairs. */
static void pack_pairs(bool b_trans, int n, int k, const uint16_t *b, int ldb, uint16_t *to) {
    for (int j = 0; j < n; j += COLS) {
        const int cols = at_most(n - j, COLS);
        uint16_t *block = to + (size_t)j * (size_t)k;
        if (b_trans) {
            libxsmm_otrans(block, b + (size_t)j * (size_t)ldb, 2 * sizeof *b, k / 2, cols, ldb / 2,
                           cols);
            continue;
        }
        for (int p = 0; p < k; p += 2) {
            const uint16_t *low = b + (size_t)p * (size_t)ldb + j, *high = low + ldb;
            for (int i = 0; i < cols; i++) {
                block[p * cols + 2 * i] = low[i];
                block[p * cols + 2 * i + 1] = high[i];
            }
        }
    }
}

/* C (m, n) = A B in blocks; rows are its columns: C' = B' A'. packed: B as pack_pairs leaves it. */
static bool multiply_blocks(int m, int n, int k, const uint16_t *a, int lda, const uint16_t *packed,
                            bool accumulate, float *c, int ldc) {
    const float one = 1, zero = 0;
    const int flags = LIBXSMM_GEMM_FLAG_VNNI_A, parts = (k + DEPTH - 1) / DEPTH;
    const int depth = ((k + parts - 1) / parts + 1) / 2 * 2;
    for (int j = 0; j < n; j += COLS) {
        const int cols = at_most(n - j, COLS);
        for (int p = 0; p < k; p += depth) {
            const int some = at_most(k - p, depth);
            for (int i = 0; i < m; i += ROWS) {
                libxsmm_bsmmfunction kernel = libxsmm_bsmmdispatch(
                    cols, at_most(m - i, ROWS), some, &cols, &lda, &ldc, &one,
                    p > 0 || accumulate ? &one : &zero, &flags, NULL);
                if (kernel == NULL) {
                    return false;
                }
                kernel(packed + (size_t)j * (size_t)k + (size_t)p * (size_t)cols,
                       a + (size_t)i * (size_t)lda + p, c + (size_t)i * (size_t)ldc + j);
            }
        }
    }
    return true;
}

/* False where its kernels cannot: an odd k, rows of pairs at odd distances. */
bool td_libxsmm_bf16_gemm(bool a_trans, bool b_trans, int m, int n, int k, const uint16_t *a,
                          int lda, const uint16_t *b, int ldb, bool accumulate, float *c, int ldc) {
    if (k % 2 != 0 || (b_trans && ldb % 2 != 0)) {
        return false;
    }
    const size_t b_size = (size_t)n * (size_t)k, a_size = a_trans ? (size_t)m * (size_t)k : 0;
    uint16_t *packed = libxsmm_aligned_malloc((b_size + a_size) * sizeof *packed, 64);
    if (packed == NULL) {
        return false;
    }
    pack_pairs(b_trans, n, k, b, ldb, packed);
    if (a_trans) {
        libxsmm_otrans(packed + b_size, a, sizeof *a, m, k, lda, k);
        a = packed + b_size;
        lda = k;
    }
    const bool done = multiply_blocks(m, n, k, a, lda, packed, accumulate, c, ldc);
    libxsmm_free(packed);
    return done;
}
