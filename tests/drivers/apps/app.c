/* A test program whose behaviour its environment sets:
   DELAY_MS     listens that late            NO_LISTEN=1   never listens
   ANY=1        listens on every address     ANY6=1        on [::]
   CHILD=1      a child does the listening   DAEMON=1      a daemon (double fork, setsid) does
   SICK_MS      /health answers 503 so long  SICK_FILE     /health answers 503 while that file exists
   REDIRECT=1   /health answers 302          MUTE=1        accepts and never answers
   EXIT_MS      exits then, with EXIT        IGNORE_TERM=1 and SLOW_TERM_MS: what SIGTERM does
   CHILDREN     starts that many sleepers    BOMB          a chain of that many forks, each parent exiting
   EAT_MB       fills memory EAT_AFTER_MS after its start    SPIN=1 keeps a core busy
   LINES        writes that many numbered lines, a millisecond apart
   ESCAPE=1     leaves a sleeper behind in a session of its own; BARE=1 does so with an empty environment */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static long now_ms(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000 + t.tv_nsec / 1000000; }
static long number(const char *name) { const char *v = getenv(name); return v ? atol(v) : 0; }
static void nap(long ms) { struct timespec t = {ms / 1000, ms % 1000 * 1000000}; while (nanosleep(&t, &t)) ; }
static void slow_term(int s) { (void)s; nap(number("SLOW_TERM_MS")); _exit(0); }
static void sleeper(void) { for (;;) pause(); }

static void detached(int bare) {
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            if (bare) { char *argv[] = {"sleep", "300", 0}; char *none[] = {0}; execve("/bin/sleep", argv, none); }
            sleeper();
        }
        _exit(0);
    }
    wait(0);
}

static int listening(void) {
    const char *fds = getenv("LISTEN_FDS");
    if (fds) return 3;
    int one = 1, sock;
    if (number("ANY6")) {
        struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(number("PORT"))};
        sock = socket(AF_INET6, SOCK_STREAM, 0);
        setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(sock, (struct sockaddr *)&a, sizeof a)) { perror("bind"); exit(98); }
    } else {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(number("PORT"))};
        a.sin_addr.s_addr = htonl(number("ANY") ? INADDR_ANY : INADDR_LOOPBACK);
        sock = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(sock, (struct sockaddr *)&a, sizeof a)) { perror("bind"); exit(98); }
    }
    listen(sock, 128);
    return sock;
}

static void serve(long start) {
    int sock = listening();
    for (;;) {
        char in[4096];
        int c = accept(sock, 0, 0);
        if (c < 0) continue;
        ssize_t n = read(c, in, sizeof in - 1);
        in[n > 0 ? n : 0] = 0;
        const char *sick = getenv("SICK_FILE"), *status = "200 OK", *more = "";
        if (number("MUTE")) continue;
        if (strncmp(in, "GET /health ", 12) == 0) {
            if (now_ms() - start < number("SICK_MS") || (sick && access(sick, F_OK) == 0)) status = "503 Sick";
            if (number("REDIRECT")) { status = "302 Found"; more = "Location: /\r\n"; }
        }
        if (n > 0) dprintf(c, "HTTP/1.1 %s\r\n%sContent-Length: 2\r\nConnection: close\r\n\r\nok", status, more);
        close(c);
    }
}

int main(void) {
    long start = now_ms();
    if (number("IGNORE_TERM")) signal(SIGTERM, SIG_IGN);
    if (number("SLOW_TERM_MS")) signal(SIGTERM, slow_term);
    for (long i = number("CHILDREN"); i > 0; i--) if (fork() == 0) sleeper();
    if (number("BOMB")) {
        for (long i = number("BOMB"); i > 0; i--) { pid_t p = fork(); if (p > 0 && i < number("BOMB")) _exit(0); if (p > 0) break; nap(1); }
    }
    if (number("ESCAPE")) detached(number("BARE"));
    if (number("EAT_MB")) {
        nap(number("EAT_AFTER_MS"));
        for (long i = 0; i < number("EAT_MB"); i++) { char *p = malloc(1 << 20); memset(p, 1, 1 << 20); nap(2); }
    }
    if (number("SPIN") && fork() == 0) for (;;) ;
    if (getenv("EXIT_MS")) { nap(number("EXIT_MS")); fprintf(stderr, "leaving\n"); return number("EXIT"); }
    for (long i = 0; i < number("LINES"); i++) { printf("line %ld\n", i); fflush(stdout); nap(1); }
    if (number("NO_LISTEN")) sleeper();
    nap(number("DELAY_MS"));
    if (number("CHILD")) { if (fork() == 0) serve(start); sleeper(); }
    if (number("DAEMON")) {
        if (fork() == 0) { setsid(); if (fork() == 0) serve(start); _exit(0); }
        wait(0);
        sleeper();
    }
    serve(start);
}
