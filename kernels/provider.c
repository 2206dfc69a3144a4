/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/provider.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void cblas_sgemm_fn(int order, int a_trans, int b_trans, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c,
                            int ldc);
enum { CBLAS_ROW_MAJOR = 101, CBLAS_NO_TRANS = 111, CBLAS_TRANS = 112 };

/* What a loaded library offers. `shown` is first: the handle callers have is this. */
typedef struct library {
    td_provider shown;
    char version[48], core[32];
    cblas_sgemm_fn *sgemm;
    void (*set_threads)(int);
} library;

typedef struct provider_row {
    const char *name;
    td_status (*open)(td_isa isa, library *out);
} provider_row;

/* dlsym gives an object pointer; POSIX lets its bytes be read as a function pointer. */
static td_status find(void *handle, const char *file, const char *symbol, void *function) {
    void *address = dlsym(handle, symbol);
    if (address == NULL) {
        return td_fail(TD_ESKIP, "%s has no %s", file, symbol);
    }
    memcpy(function, &address, sizeof address);
    return TD_OK;
}

/* OpenBLAS chooses kernels by CPU model, and a version older than the CPU falls back to AVX2 code
 * (0.3.21 does on every AMD CPU with AVX-512), so the level is named, over what the environment may
 * say for other programs: a peer is measured at its best. Its threads start when it is loaded, so
 * their number is named before. */
static td_status open_openblas(td_isa isa, library *out) {
    static const char file[] = "libopenblas.so.0";
    if (isa >= TD_ISA_AVX512) {
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 1);
    } else if (isa == TD_ISA_AVX2) {
        setenv("OPENBLAS_CORETYPE", "Haswell", 1);
    }
    setenv("OPENBLAS_NUM_THREADS", "1", 0);
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return td_fail(TD_ESKIP, "openblas is not installed: %s", dlerror());
    }
    char *(*config)(void) = NULL, *(*core)(void) = NULL;
    TD_TRY(find(handle, file, "openblas_get_config", &config));
    TD_TRY(find(handle, file, "openblas_get_corename", &core));
    TD_TRY(find(handle, file, "openblas_set_num_threads", &out->set_threads));
    TD_TRY(find(handle, file, "cblas_sgemm", &out->sgemm));
    /* "OpenBLAS 0.3.21 NO_AFFINITY ...": the second word. */
    if (sscanf(config(), "%*s %47s", out->version) != 1) {
        return td_fail(TD_ESKIP, "%s gives no version: \"%s\"", file, config());
    }
    snprintf(out->core, sizeof out->core, "%s", core());
    out->set_threads(1);
    return TD_OK;
}

static const provider_row rows[] = {{"openblas", open_openblas}};
enum { N_ROWS = sizeof rows / sizeof rows[0] };
static library libraries[N_ROWS];

const char *const *td_provider_names(void) {
    static const char *names[N_ROWS + 1];
    for (int i = 0; i < N_ROWS; i++) {
        names[i] = rows[i].name;
    }
    return names;
}

td_status td_provider_open(const char *name, td_isa isa, const td_provider **out) {
    for (int i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].name, name) != 0) {
            continue;
        }
        library *opened = &libraries[i];
        if (opened->shown.name == NULL) {
            TD_TRY(rows[i].open(isa, opened));
            opened->shown = (td_provider){rows[i].name, opened->version, opened->core};
        }
        *out = &opened->shown;
        return TD_OK;
    }
    return td_fail(TD_EUSAGE, "unknown provider \"%s\"; the first known is %s", name, rows[0].name);
}

void td_provider_set_threads(const td_provider *provider, int threads) {
    ((const library *)(const void *)provider)->set_threads(threads);
}

bool td_provider_gemm_fits(const td_gemm_f32_args *args) {
    bool plain = args->bias == NULL && args->preact == NULL && args->act == TD_ACT_NONE &&
                 args->residual == NULL && args->act_grad_of == NULL && args->k_blocks == 1;
    bool fits = args->m <= INT_MAX && args->n <= INT_MAX && args->k <= INT_MAX &&
                args->lda <= INT_MAX && args->ldb <= INT_MAX && args->ldc <= INT_MAX;
    return plain && fits;
}

void td_provider_gemm_f32(const td_provider *provider, const td_gemm_f32_args *args) {
    TD_ASSERT(td_provider_gemm_fits(args));
    ((const library *)(const void *)provider)
        ->sgemm(CBLAS_ROW_MAJOR, args->a_trans ? CBLAS_TRANS : CBLAS_NO_TRANS,
                args->b_trans ? CBLAS_TRANS : CBLAS_NO_TRANS, (int)args->m, (int)args->n,
                (int)args->k, 1.0f, args->a, (int)args->lda, args->b, (int)args->ldb,
                args->accumulate ? 1.0f : 0.0f, args->c, (int)args->ldc);
}
