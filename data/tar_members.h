/* SPDX-License-Identifier: Apache-2.0
 * The members of a tar file: ustar, GNU long names and sizes, pax paths and sizes.
 */
#ifndef TD_DATA_TAR_MEMBERS_H
#define TD_DATA_TAR_MEMBERS_H

#include <stdint.h>

#include "base/status.h"

/* A regular file in it. name is valid during the call. Anything but TD_OK ends the walk. */
typedef td_status td_tar_member_fn(void *arg, const char *name, int64_t offset, int64_t bytes);

/* fd is borrowed; path is for messages. Headers alone are read. A header whose checksum is wrong,
 * or a member that reaches beyond the file, is TD_EINPUT with file and byte. */
td_status td_tar_walk(int fd, const char *path, td_tar_member_fn *each, void *arg);

#endif
