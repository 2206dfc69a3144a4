/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sha256.h"

#include <openssl/evp.h>

#include "base/memory.h"

struct td_sha256 {
    EVP_MD_CTX *context;
};

td_status td_sha256_create(td_sha256 **out) {
    td_sha256 *sha = td_alloc_zero(sizeof *sha);
    if (sha == NULL) {
        return td_fail(TD_ENOMEM, "no memory for SHA-256");
    }
    sha->context = EVP_MD_CTX_new();
    if (sha->context == NULL || EVP_DigestInit_ex(sha->context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(sha->context);
        td_free(sha);
        return td_fail(TD_ESYS, "libcrypto offers no SHA-256");
    }
    *out = sha;
    return TD_OK;
}

void td_sha256_add(td_sha256 *sha, const void *data, size_t bytes) {
    TD_ASSERT(EVP_DigestUpdate(sha->context, data, bytes) == 1);
}

void td_sha256_finish(td_sha256 *sha, char hex[TD_SHA256_HEX]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    TD_ASSERT(EVP_DigestFinal_ex(sha->context, digest, &size) == 1 && size == 32);
    for (unsigned int i = 0; i < size; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[64] = '\0';
    EVP_MD_CTX_free(sha->context);
    td_free(sha);
}
