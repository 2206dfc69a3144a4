/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "threads/holder.h"
#include "threads/lock.h"

enum { OWNER = 4711 };

static bool is_owner(void *arg, int pid, int tid) {
    (void)arg;
    return (pid == 0 || pid == getpid()) && tid == OWNER;
}

/* A thread of this process that sleeps for one of the two words of a td_mutex. */
static td_holder find(td_mutex *mutex, bool second) {
    const td_proc_call call = {
        .number = SYS_futex,
        .argument = {(uint64_t)(second ? (void *)&mutex->asleep : (void *)&mutex->word),
                     FUTEX_WAIT | FUTEX_PRIVATE_FLAG, second ? 1 : 2}};
    return td_holder_find(getpid(), gettid(), &call, is_owner, NULL);
}

typedef struct row {
    unsigned word;
    int owner;
    bool found;
} row;

/* How a td_mutex may be held: 1 to 4. */
ParameterizedTestParameters(holder, either_word_of_a_mutex_leads_to_its_owner) {
    static row rows[] = {{1, OWNER, true},     {2, OWNER, true},  {3, OWNER, true},
                         {4, OWNER, true},     {0, OWNER, false}, {5, OWNER, false},
                         {4, OWNER + 1, false}};
    return cr_make_param_array(row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(row *r, holder, either_word_of_a_mutex_leads_to_its_owner) {
    td_mutex mutex = {
        .word = r->word, .asleep = 1, .owner = r->owner, .kind = TD_MUTEX_KIND, .name = "a name"};
    for (int second = 0; second < 2; second++) {
        td_holder at = find(&mutex, second == 1);
        cr_assert_eq(at.lock, (uint64_t)&mutex, "word %d of one that is %u", second, r->word);
        cr_assert_eq(at.owner, r->found ? OWNER : 0, "word %d of one that is %u: %d", second,
                     r->word, at.owner);
        cr_assert_str_eq(at.name, r->found ? "a name" : "");
        cr_assert_not(at.joins);
        cr_assert_not(at.refused);
    }
}

/* Nobody has taken it while it was monitored: its words say nothing, and no neighbour is taken for
 * the beginning of a lock. */
Test(holder, a_mutex_that_was_not_monitored_names_nobody) {
    td_mutex mutex = {.word = 1, .asleep = 1, .name = "a name"};
    cr_assert_eq(find(&mutex, false).owner, 0);
    td_holder at = find(&mutex, true);
    cr_assert_eq(at.owner, 0);
    cr_assert_eq(at.lock, (uint64_t)&mutex.asleep);
    cr_assert_str_eq(at.name, "");
}
