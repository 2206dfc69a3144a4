/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

typedef union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
} control;

static bool pass(int socket, int fd) {
    control buffer = {0};
    char byte = 'x';
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &buffer,
                             .msg_controllen = sizeof buffer};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return sendmsg(socket, &message, 0) == 1;
}

static int receive(int socket) {
    control buffer = {0};
    char byte;
    int fd = -1;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &buffer,
                             .msg_controllen = sizeof buffer};
    if (recvmsg(socket, &message, 0) == 1 && CMSG_FIRSTHDR(&message) != NULL) {
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    }
    return fd;
}

/* Makes a file that has no name, and gives it away. */
static void make_and_pass(td_lab *lab, void *arg) {
    const int *sockets = arg;
    int fd = memfd_create("tandem-passed", MFD_CLOEXEC), give = fd;
    td_lab_must(lab, fd >= 0 && write(fd, "0123456789", 10) == 10 && lseek(fd, 4, SEEK_SET) == 4,
                "a file");
    if (lab->mutant) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        give = open(path, O_RDWR | O_CLOEXEC); /* the same file, opened anew */
    }
    td_lab_must(lab, pass(sockets[1], give), "pass a descriptor");
}

void td_concept_passed_descriptor(td_lab *lab) {
    int sockets[2];
    char text[4] = "";
    td_lab_must(lab, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "a socket pair");
    pid_t pid = td_lab_fork(lab, make_and_pass, sockets);
    int fd = receive(sockets[0]);
    td_lab_wait(lab, pid);
    td_lab_check(lab, fd >= 0, "a child that has ended left descriptor %d of a file without a name",
                 fd);
    td_lab_check(lab, read(fd, text, 3) == 3 && strcmp(text, "456") == 0,
                 "it is the open file itself, at the position it had: \"%s\" is next", text);
}
