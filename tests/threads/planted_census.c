/* SPDX-License-Identifier: Apache-2.0
 * A program to be counted, which knows nothing of Tandem. Phases are opened and closed by the test
 * over standard input and output, a byte each: 6 threads are born and end, 3 at a time; then one
 * that stays is blocked for a lock once and waits for a condition twice; then a forked child starts
 * one thread.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t meeting;
static _Atomic int stage;
static int signals;

static void tell(char what) {
    if (write(STDOUT_FILENO, &what, 1) != 1 || read(STDIN_FILENO, &what, 1) != 1) {
        _exit(1);
    }
}

static void *meet(void *arg) {
    pthread_barrier_wait(&meeting);
    return arg;
}

static void *meet_and_exit(void *arg) {
    pthread_barrier_wait(&meeting);
    pthread_exit(arg);
}

static void bear(int count, void *(*main)(void *)) {
    pthread_t thread[3];
    pthread_barrier_init(&meeting, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) {
        pthread_create(&thread[i], NULL, main, NULL);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(thread[i], NULL);
    }
}

static void *block_and_wait(void *arg) {
    stage = 1;
    pthread_mutex_lock(&other); /* held by main until this thread sleeps for it */
    pthread_mutex_unlock(&other);
    for (int i = 1; i <= 2; i++) {
        pthread_mutex_lock(&lock);
        stage = 1 + i; /* in the lock: the signal comes after the wait has begun */
        while (signals < i) {
            pthread_cond_wait(&condition, &lock);
        }
        pthread_mutex_unlock(&lock);
    }
    stage = 4;
    while (stage != 5) {
        sched_yield();
    }
    return arg;
}

static void *end_at_once(void *arg) {
    return arg;
}

int main(void) {
    pthread_t thread;
    tell('a');
    bear(3, meet);
    bear(3, meet_and_exit);
    tell('b');
    pthread_mutex_lock(&other);
    pthread_create(&thread, NULL, block_and_wait, NULL);
    while (stage != 1) {
        sched_yield();
    }
    tell('c'); /* until the test has seen it blocked */
    pthread_mutex_unlock(&other);
    for (int i = 1; i <= 2; i++) {
        while (stage < 1 + i) {
            sched_yield();
        }
        pthread_mutex_lock(&lock);
        signals = i;
        pthread_cond_signal(&condition);
        pthread_mutex_unlock(&lock);
    }
    while (stage != 4) {
        sched_yield();
    }
    tell('d');
    stage = 5;
    pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0) {
        pthread_create(&thread, NULL, end_at_once, NULL);
        pthread_join(thread, NULL);
        tell('e');
        _exit(0);
    }
    waitpid(child, NULL, 0);
    tell('f');
    return 0;
}
