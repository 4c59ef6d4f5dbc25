/* What nothing can be faster than: start a server, ask it, be answered, without anything around it.
 *   floor one SERVER FIRST_PORT COUNT SPACING_MS    COUNT times, one after the other: from before the spawn to the
 *                                                   first byte of the answer, microseconds, a line each
 *   floor all SERVER FIRST_PORT COUNT               COUNT servers at once: from before the first spawn to the last
 *                                                   answer, microseconds, one line
 * Each server has a port and a session of its own; a connect is tried each 0.2 ms. Exit 1: one did not answer. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBE_NS 200000L
#define PATIENCE_NS 10000000000L
#define MOST 4096
static const char request[] = "GET / HTTP/1.1\r\nHost: floor\r\n\r\n";

static pid_t pids[MOST];
static int fds[MOST], done[MOST];

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}
static void until(long instant) {
    struct timespec t = {instant / 1000000000L, instant % 1000000000L};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}
static void end_all(int count) {
    for (int i = 0; i < count; i++)
        if (pids[i] > 0) kill(pids[i], SIGKILL);
    for (int i = 0; i < count; i++)
        if (pids[i] > 0) waitpid(pids[i], NULL, 0);
}
static pid_t start(char *server, int port) {
    char variable[16], *arguments[] = {server, NULL}, *environment[] = {variable, NULL};
    posix_spawnattr_t attributes;
    pid_t pid;
    snprintf(variable, sizeof variable, "PORT=%d", port);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    int failed = posix_spawn(&pid, server, NULL, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    if (failed) fprintf(stderr, "cannot start %s: %s\n", server, strerror(failed)), exit(1);
    return pid;
}
/* A connection on which the request has been sent, or -1. */
static int asked(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0 || errno == EINPROGRESS) {
        struct pollfd writable = {fd, POLLOUT, 0};
        if (poll(&writable, 1, 1) == 1 && send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0) return fd;
    }
    close(fd);
    return -1;
}
static int answered(int fd) {
    char data[4096];
    int length = read(fd, data, sizeof data);
    return length > 12 && memcmp(data + 9, "200", 3) == 0;
}
static long one(char *server, int port) {
    long begun = now(), next = begun, took = -1;
    pids[0] = start(server, port);
    while (now() - begun < PATIENCE_NS) {
        until(next += PROBE_NS);
        int fd = asked(port);
        if (fd < 0) continue;
        struct pollfd readable = {fd, POLLIN, 0};
        if (poll(&readable, 1, 1000) == 1) took = now() - begun;
        if (!answered(fd)) took = -1;
        close(fd);
        break;
    }
    end_all(1);
    return took;
}
static long all(char *server, int first, int count) {
    long begun = now(), next = begun, took = -1;
    int started = 0, left = count;
    while (left && now() - begun < PATIENCE_NS) {
        if (started < count) {
            fds[started] = -1;
            pids[started] = start(server, first + started);
            started++;
            if (now() < next) continue;
        } else until(next);
        next = now() + PROBE_NS;
        for (int i = 0; i < started; i++) {
            if (done[i]) continue;
            if (fds[i] < 0) fds[i] = asked(first + i);
            struct pollfd readable = {fds[i], POLLIN, 0};
            if (fds[i] < 0 || poll(&readable, 1, 0) != 1) continue;
            if (answered(fds[i])) done[i] = 1, left--;
            close(fds[i]);
            fds[i] = -1;
        }
    }
    if (!left) took = now() - begun;
    end_all(started);
    return took;
}
int main(int argc, char **argv) {
    int count = argc > 4 ? atoi(argv[4]) : 0, first = argc > 3 ? atoi(argv[3]) : 0;
    if (count < 1 || count > MOST || first < 1) return 2;
    if (strcmp(argv[1], "all") == 0) {
        long took = all(argv[2], first, count);
        printf("%ld\n", took / 1000);
        return took < 0;
    }
    for (int i = 0; i < count; i++) {
        long took = one(argv[2], first + i);
        if (took < 0) return fprintf(stderr, "no answer on port %d\n", first + i), 1;
        printf("%ld\n", took / 1000);
        until(now() + (argc > 5 ? atoi(argv[5]) : 0) * 1000000L);
    }
    return 0;
}
