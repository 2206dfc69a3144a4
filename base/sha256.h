/* SPDX-License-Identifier: Apache-2.0
 * SHA-256 through libcrypto, as lower-case hex.
 */
#ifndef TD_BASE_SHA256_H
#define TD_BASE_SHA256_H

#include <stddef.h>

#include "base/status.h"

enum { TD_SHA256_HEX = 65 };

typedef struct td_sha256 td_sha256;

td_status td_sha256_create(td_sha256 **out);
void td_sha256_add(td_sha256 *sha, const void *data, size_t bytes);
/* Finishes, writes 64 hex digits and NUL, and frees sha. */
void td_sha256_finish(td_sha256 *sha, char hex[TD_SHA256_HEX]);

#endif
