/* SPDX-License-Identifier: Apache-2.0
 * libxsmm as a shared object with three functions: Debian has the library as an archive only. Built
 * where its headers are installed, loaded by provider.c, never needed.
 */
#include <libxsmm.h>
#include <stdatomic.h>
#include <stdbool.h>

#define TD_EXPORT __attribute__((visibility("default")))

TD_EXPORT const char *td_libxsmm_version(void);
TD_EXPORT const char *td_libxsmm_target(void);
TD_EXPORT bool td_libxsmm_sgemm(char a_trans, char b_trans, int m, int n, int k, float alpha,
                                const float *a, int lda, const float *b, int ldb, float beta,
                                float *c, int ldc);
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
