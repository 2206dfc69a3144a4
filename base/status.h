/* SPDX-License-Identifier: Apache-2.0
 * One status type for every function that can fail, with one message built where the facts are
 * known.
 */
#ifndef TD_BASE_STATUS_H
#define TD_BASE_STATUS_H

/*       name           exit  meaning */
#define TD_STATUS_MAP(X) \
    X(TD_OK, 0, "ok") \
    X(TD_ECHECK, 1, "a check failed or a regression was found") \
    X(TD_EUSAGE, 2, "usage") \
    X(TD_EIO, 3, "input or output failed") \
    X(TD_EINPUT, 3, "bad input") \
    X(TD_ENOMEM, 3, "out of memory") \
    X(TD_ESYS, 3, "a system call failed") \
    X(TD_EPEER, 3, "a rank died or reported an error") \
    X(TD_ETIMEDOUT, 3, "a deadline passed") \
    X(TD_EINTERRUPTED, 3, "interrupted") \
    X(TD_ESKIP, 3, "not available here") \
    X(TD_EINCONCLUSIVE, 4, "inconclusive") \
    X(TD_EUNFIT, 5, "machine unfit for measurement") \
    X(TD_EDIFFER, 6, "machines differ")

typedef enum td_status {
#define TD_STATUS_ENUM(name, exit, text) name,
    TD_STATUS_MAP(TD_STATUS_ENUM)
#undef TD_STATUS_ENUM
        TD_STATUS_COUNT
} td_status;

/* Stores a message for the calling thread and returns code. Called once, where the facts are known;
 * callers above pass the status on with TD_TRY. Messages longer than 1,023 bytes are cut. */
td_status td_fail(td_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The message of the calling thread's last td_fail; "" before the first. Owned by the thread. */
const char *td_error(void);

/* The short name ("TD_EIO"), the meaning, and the process exit code of a status. */
const char *td_status_name(td_status code);
const char *td_status_text(td_status code);
int td_exit_code(td_status code);

#define TD_TRY(expr) \
    do { \
        td_status td_try_status_ = (expr); \
        if (td_try_status_ != TD_OK) { \
            return td_try_status_; \
        } \
    } while (0)

/* Always on: a broken invariant prints file, line and condition and aborts. O(1) per call only. */
#define TD_ASSERT(cond) ((cond) ? (void)0 : td_assert_failed(__FILE__, __LINE__, #cond))
#ifdef TD_DEBUG
#define TD_DEBUG_ASSERT(cond) TD_ASSERT(cond)
#else
#define TD_DEBUG_ASSERT(cond) ((void)0)
#endif
void td_assert_failed(const char *file, int line, const char *condition) __attribute__((noreturn));

#endif
