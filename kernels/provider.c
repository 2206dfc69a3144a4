/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/provider.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/gemm/gemm_plan.h"

typedef void cblas_sgemm_fn(int order, int a_trans, int b_trans, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c,
                            int ldc);
enum { CBLAS_ROW_MAJOR = 101, CBLAS_NO_TRANS = 111, CBLAS_TRANS = 112 };

/* oneDNN's interface is row-major too, with letters for forms and 64-bit sizes. */
typedef int dnnl_sgemm_fn(char a_trans, char b_trans, int64_t m, int64_t n, int64_t k, float alpha,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                          float *c, int64_t ldc);

/* In the library, though in none of its headers. */
typedef int dnnl_gemm_bf16_fn(char a_trans, char b_trans, int64_t m, int64_t n, int64_t k,
                              float alpha, const uint16_t *a, int64_t lda, const uint16_t *b,
                              int64_t ldb, float beta, float *c, int64_t ldc);

/* The wrapper of libxsmm_peer.c: column-major, sizes and flags as BLAS has them. */
typedef bool xsmm_sgemm_fn(char a_trans, char b_trans, int m, int n, int k, float alpha,
                           const float *a, int lda, const float *b, int ldb, float beta, float *c,
                           int ldc);

typedef bool xsmm_bf16_gemm_fn(bool a_trans, bool b_trans, int m, int n, int k, const uint16_t *a,
                               int lda, const uint16_t *b, int ldb, bool accumulate, float *c,
                               int ldc); /* row-major */

/* What a loaded library offers. `shown` is first: the handle callers have is this. One of the
 * products is set, and one of the two ways to name threads. */
typedef struct library {
    td_provider shown;
    char version[48], core[32];
    cblas_sgemm_fn *cblas_sgemm;
    dnnl_sgemm_fn *dnnl_sgemm;
    dnnl_gemm_bf16_fn *dnnl_gemm_bf16; /* NULL: it has none, or none for this CPU */
    xsmm_sgemm_fn *xsmm_sgemm;
    xsmm_bf16_gemm_fn *xsmm_bf16_gemm; /* NULL: this CPU has no instruction for it */
    void (*set_threads)(int);
    void (*set_threads_64)(int64_t);
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
    /* Its idle threads spin for 2^26 cycles unless told otherwise, in the way of whoever is timed
     * next; 2^18 are 0.1 ms, longer than any pause inside of a product. */
    setenv("OPENBLAS_THREAD_TIMEOUT", "18", 1);
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return td_fail(TD_ESKIP, "openblas is not installed: %s", dlerror());
    }
    char *(*config)(void) = NULL, *(*core)(void) = NULL;
    TD_TRY(find(handle, file, "openblas_get_config", &config));
    TD_TRY(find(handle, file, "openblas_get_corename", &core));
    TD_TRY(find(handle, file, "openblas_set_num_threads", &out->set_threads));
    TD_TRY(find(handle, file, "cblas_sgemm", &out->cblas_sgemm));
    /* "OpenBLAS 0.3.21 NO_AFFINITY ...": the second word. */
    if (sscanf(config(), "%*s %47s", out->version) != 1) {
        return td_fail(TD_ESKIP, "%s gives no version: \"%s\"", file, config());
    }
    snprintf(out->core, sizeof out->core, "%s", core());
    out->set_threads(1);
    return TD_OK;
}

/* BLIS 0.9 knows AMD CPUs to family 19h by number and gives newer ones its generic C kernels, so
 * the kernels are named: 0 is skx (AVX-512), 3 haswell (AVX2). The variable is read at the first
 * call. Debian has it in variants; the one with POSIX threads is looked for first, since its
 * threads do not spin between calls, and one without threads would be a crippled peer. */
static td_status open_blis(td_isa isa, library *out) {
    static const char *const files[] = {"/usr/lib/x86_64-linux-gnu/blis-pthread/libblis.so.4",
                                        "libblis.so.4"};
    if (isa >= TD_ISA_AVX512) {
        setenv("BLIS_ARCH_TYPE", "0", 1);
    } else if (isa == TD_ISA_AVX2) {
        setenv("BLIS_ARCH_TYPE", "3", 1);
    }
    const char *file = files[0];
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        file = files[1];
        handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    }
    if (handle == NULL) {
        return td_fail(TD_ESKIP, "blis is not installed: %s", dlerror());
    }
    const char *(*version)(void) = NULL, *(*core_name)(int) = NULL;
    int (*core)(void) = NULL;
    int64_t (*has_threads)(void) = NULL;
    void (*init)(void) = NULL;
    TD_TRY(find(handle, file, "bli_init", &init));
    TD_TRY(find(handle, file, "bli_info_get_version_str", &version));
    TD_TRY(find(handle, file, "bli_arch_query_id", &core));
    TD_TRY(find(handle, file, "bli_arch_string", &core_name));
    TD_TRY(find(handle, file, "bli_info_get_enable_threading", &has_threads));
    TD_TRY(find(handle, file, "bli_thread_set_num_threads", &out->set_threads_64));
    TD_TRY(find(handle, file, "cblas_sgemm", &out->cblas_sgemm));
    if (has_threads() == 0) {
        return td_fail(TD_ESKIP, "%s was built without threads; libblis4-pthread has them", file);
    }
    init(); /* A named kernel family is checked against tables that exist only now. */
    snprintf(out->version, sizeof out->version, "%s", version());
    snprintf(out->core, sizeof out->core, "%s", core_name(core()));
    out->set_threads_64(1);
    return TD_OK;
}

/* oneDNN generates code for what the CPU can do, so only an upper limit is named. Debian's build
 * runs on OpenMP, whose number of threads belongs to the thread that calls. */
static td_status open_onednn(td_isa isa, library *out) {
    static const char file[] = "libdnnl.so.2";
    setenv("GOMP_SPINCOUNT", "10000", 1); /* some 0.1 ms, for OpenBLAS's reason */
    setenv("ONEDNN_MAX_CPU_ISA", isa == TD_ISA_AVX2 ? "AVX2" : "ALL", 1);
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return td_fail(TD_ESKIP, "onednn is not installed: %s", dlerror());
    }
    typedef struct dnnl_version {
        int major, minor, patch;
    } dnnl_version;
    const dnnl_version *(*version)(void) = NULL;
    int (*effective)(void) = NULL;
    TD_TRY(find(handle, file, "dnnl_version", &version));
    TD_TRY(find(handle, file, "dnnl_get_effective_cpu_isa", &effective));
    TD_TRY(find(handle, file, "omp_set_num_threads", &out->set_threads));
    TD_TRY(find(handle, file, "dnnl_sgemm", &out->dnnl_sgemm));
    const dnnl_version *v = version();
    snprintf(out->version, sizeof out->version, "%d.%d.%d", v->major, v->minor, v->patch);
    /* Bits of dnnl_cpu_isa_t: 0x7 AVX2, 0x20 the AVX-512 of servers, 0x80 its bf16. */
    int bits = effective();
    if (bits & 0x80) {
        TD_TRY(find(handle, file, "dnnl_gemm_bf16bf16f32", &out->dnnl_gemm_bf16));
    }
    snprintf(out->core, sizeof out->core, "%s",
             bits & 0x20 ? (bits & 0x80 ? "avx512_core_bf16" : "avx512_core")
                         : ((bits & 0x7) == 0x7 ? "avx2" : "below avx2"));
    out->set_threads(1);
    return TD_OK;
}

/* Debian has libxsmm as an archive only; where its headers are installed the build makes a shared
 * object of it and of libxsmm_peer.c. It generates code for what the CPU can do, on OpenMP. */
static td_status open_libxsmm(td_isa isa, library *out) {
    static const char file[] = TD_LIBXSMM_FILE;
    setenv("LIBXSMM_TARGET",
           isa >= TD_ISA_AVX512_BF16 ? "cpx"
           : isa == TD_ISA_AVX512    ? "skx"
           : isa == TD_ISA_AVX2      ? "hsw"
                                     : "wsm",
           1);
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return td_fail(TD_ESKIP, "libxsmm was not installed when this was built: %s", dlerror());
    }
    const char *(*version)(void) = NULL, *(*target)(void) = NULL;
    TD_TRY(find(handle, file, "td_libxsmm_version", &version));
    TD_TRY(find(handle, file, "td_libxsmm_target", &target));
    TD_TRY(find(handle, file, "td_libxsmm_sgemm", &out->xsmm_sgemm));
    if (isa >= TD_ISA_AVX512_BF16) {
        TD_TRY(find(handle, file, "td_libxsmm_bf16_gemm", &out->xsmm_bf16_gemm));
    }
    TD_TRY(find(handle, file, "omp_set_num_threads", &out->set_threads));
    snprintf(out->version, sizeof out->version, "%s", version());
    snprintf(out->core, sizeof out->core, "%s", target());
    out->set_threads(1);
    return TD_OK;
}

static const provider_row rows[] = {{"openblas", open_openblas},
                                    {"blis", open_blis},
                                    {"onednn", open_onednn},
                                    {"libxsmm", open_libxsmm}};
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
    const library *l = (const library *)(const void *)provider;
    if (l->set_threads) {
        l->set_threads(threads);
    } else {
        l->set_threads_64(threads);
    }
}

bool td_provider_gemm_fits(const td_gemm_f32_args *args) {
    bool plain = td_gemm_is_plain(args) && args->packed == NULL && args->k_blocks == 1;
    bool fits = args->m <= INT_MAX && args->n <= INT_MAX && args->k <= INT_MAX &&
                args->lda <= INT_MAX && args->ldb <= INT_MAX && args->ldc <= INT_MAX;
    return plain && fits;
}

bool td_provider_has_bf16(const td_provider *provider) {
    const library *l = (const library *)(const void *)provider;
    return l->dnnl_gemm_bf16 != NULL || l->xsmm_bf16_gemm != NULL;
}

bool td_provider_gemm_bf16(const td_provider *provider, const td_gemm_bf16_args *args) {
    TD_ASSERT(td_provider_gemm_fits(args) && td_provider_has_bf16(provider));
    const library *l = (const library *)(const void *)provider;
    if (l->xsmm_bf16_gemm != NULL) {
        return l->xsmm_bf16_gemm(args->a_trans, args->b_trans, (int)args->m, (int)args->n,
                                 (int)args->k, args->a_bf16, (int)args->lda, args->b_bf16,
                                 (int)args->ldb, args->accumulate, args->c, (int)args->ldc);
    }
    return l->dnnl_gemm_bf16(args->a_trans ? 'T' : 'N', args->b_trans ? 'T' : 'N', args->m, args->n,
                             args->k, 1.0f, args->a_bf16, args->lda, args->b_bf16, args->ldb,
                             args->accumulate ? 1.0f : 0.0f, args->c, args->ldc) == 0;
}

bool td_provider_gemm_f32(const td_provider *provider, const td_gemm_f32_args *args) {
    TD_ASSERT(td_provider_gemm_fits(args));
    const library *l = (const library *)(const void *)provider;
    float beta = args->accumulate ? 1.0f : 0.0f;
    if (l->dnnl_sgemm) {
        l->dnnl_sgemm(args->a_trans ? 'T' : 'N', args->b_trans ? 'T' : 'N', args->m, args->n,
                      args->k, 1.0f, args->a, args->lda, args->b, args->ldb, beta, args->c,
                      args->ldc);
        return true;
    }
    if (l->xsmm_sgemm) { /* rows are its columns: C' = B' A' */
        return l->xsmm_sgemm(args->b_trans ? 'T' : 'N', args->a_trans ? 'T' : 'N', (int)args->n,
                             (int)args->m, (int)args->k, 1.0f, args->b, (int)args->ldb, args->a,
                             (int)args->lda, beta, args->c, (int)args->ldc);
    }
    l->cblas_sgemm(CBLAS_ROW_MAJOR, args->a_trans ? CBLAS_TRANS : CBLAS_NO_TRANS,
                   args->b_trans ? CBLAS_TRANS : CBLAS_NO_TRANS, (int)args->m, (int)args->n,
                   (int)args->k, 1.0f, args->a, (int)args->lda, args->b, (int)args->ldb, beta,
                   args->c, (int)args->ldc);
    return true;
}
