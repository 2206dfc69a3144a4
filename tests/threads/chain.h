/* SPDX-License-Identifier: Apache-2.0
 * A chain of nine calls, chain_1 to chain_9, to be found in a stack; the last calls what it was
 * given. noipa: each is a frame of its own under its own name.
 */
#ifndef TD_TESTS_THREADS_CHAIN_H
#define TD_TESTS_THREADS_CHAIN_H

typedef int chain_end_fn(void *arg);

__attribute__((noipa)) static int chain_9(chain_end_fn *end, void *arg) {
    return end(arg) + 9;
}
#define CHAIN_LINK(n, next)                                                                        \
    __attribute__((noipa)) static int chain_##n(chain_end_fn *end, void *arg) {                    \
        return chain_##next(end, arg) + n;                                                         \
    }
CHAIN_LINK(8, 9)
CHAIN_LINK(7, 8)
CHAIN_LINK(6, 7)
CHAIN_LINK(5, 6)
CHAIN_LINK(4, 5)
CHAIN_LINK(3, 4)
CHAIN_LINK(2, 3)
CHAIN_LINK(1, 2)

#endif
