/* SPDX-License-Identifier: Apache-2.0
 * A program that starts no thread and waits for a line of input. Who runs in it is for others to
 * say:   hello_threads &   tandem threads dump $!
 * A Java program that does as little shows a dozen and a half: its collector, compilers and
 * signal dispatcher are threads of the process whether the language calls them so or not.
 */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("process %d: one thread\n", (int)getpid());
    fflush(stdout);
    return getchar() == EOF;
}
