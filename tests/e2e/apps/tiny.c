/* A small HTTP server for the tests: listens on $HOST:$PORT and does as its environment says.
 *   START_MS   sleep before listening            EXIT_CODE  exit with it instead of listening (after START_MS)
 *   COUNT_FILE append a line at each start       NEVER      never listen
 *   IGNORE_TERM ignore SIGTERM                   HEALTH_MS  answer /health with 503 until so long after the start
 *   TERM_MS    on SIGTERM exit 0 after so long        MARK_FILE  append its TASK_ID at each start
 *   DOWN_FILE  exit with 1 instead of listening once this file is there
 * GET /pid answers the pid, /slow?MS after so many milliseconds, /exit?N ends the process, /hits the number of
 * requests but probes and itself; anything else answers $SAYS, else "ok". One request a connection at a time,
 * keep-alive. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096
static long started;
static int hits, term_ms = -1;

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}
static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}
static void rest(long ms) {
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};
    while (nanosleep(&t, &t) == -1 && errno == EINTR) {
    }
}
static void on_term(int signal_number) {
    (void)signal_number;
    if (term_ms > 0) rest(term_ms);
    _exit(0);
}
static void answer(int fd, const char *status, const char *body, int head) {
    char out[512];
    int n = snprintf(out, sizeof out, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", status,
                     strlen(body), head ? "" : body);
    for (int sent = 0; sent < n;) {
        int m = write(fd, out + sent, n - sent);
        if (m <= 0) return;
        sent += m;
    }
}
static void serve(int fd, char *request) {
    char body[64] = "ok\n", *path = strchr(request, ' '), *says = getenv("SAYS");
    int head = strncmp(request, "HEAD", 4) == 0;
    if (!path) return;
    path++;
    if (strncmp(path, "/health", 7) == 0) {
        int well = now_ms() - started >= number("HEALTH_MS", 0);
        answer(fd, well ? "200 OK" : "503 Service Unavailable", "health\n", head);
        return;
    }
    if (strncmp(path, "/hits", 5) == 0) {
        snprintf(body, sizeof body, "%d\n", hits);
        answer(fd, "200 OK", body, head);
        return;
    }
    hits++;
    if (says) snprintf(body, sizeof body, "%s\n", says);
    if (strncmp(path, "/pid", 4) == 0) snprintf(body, sizeof body, "%d\n", getpid());
    if (strncmp(path, "/slow?", 6) == 0) rest(atol(path + 6));
    if (strncmp(path, "/exit?", 6) == 0) _exit(atoi(path + 6));
    if (strncmp(path, "/say?", 5) == 0) {
        char *end = strchr(path, '\r');
        char *space = strchr(path, ' ');
        if (space && (!end || space < end)) *space = 0;
        printf("%s\n", path + 5);
        fflush(stdout);
    }
    answer(fd, "200 OK", body, head);
}
int main(void) {
    const char *port = getenv("PORT"), *count = getenv("COUNT_FILE"), *marks = getenv("MARK_FILE");
    int one = 1, listener, n = 1;
    static struct pollfd fds[MOST];
    static char buffer[65536];
    started = now_ms();
    signal(SIGPIPE, SIG_IGN);
    if (getenv("IGNORE_TERM")) signal(SIGTERM, SIG_IGN);
    else {
        term_ms = (int)number("TERM_MS", -1);
        signal(SIGTERM, on_term);
    }
    if (count) {
        int fd = open(count, O_WRONLY | O_CREAT | O_APPEND, 0666);
        if (fd >= 0 && write(fd, "start\n", 6) == 6) close(fd);
    }
    if (marks) {
        int fd = open(marks, O_WRONLY | O_CREAT | O_APPEND, 0666);
        if (fd >= 0 && dprintf(fd, "%s\n", getenv("TASK_ID")) > 0) close(fd);
    }
    printf("starting on %s\n", port ? port : "-");
    fflush(stdout);
    rest(number("START_MS", 0));
    const char *down = getenv("DOWN_FILE");
    if (down && access(down, F_OK) == 0) return 1;
    if (getenv("EXIT_CODE")) {
        fprintf(stderr, "going down with %s\n", getenv("EXIT_CODE"));
        return (int)number("EXIT_CODE", 1);
    }
    if (getenv("NEVER") || !port)
        for (;;) pause();
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = inet_addr(getenv("HOST") ? getenv("HOST") : "127.0.0.1")};
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024)) {
        perror("listen");
        return 98;
    }
    fds[0] = (struct pollfd){listener, POLLIN, 0};
    for (;;) {
        if (poll(fds, n, -1) < 0) continue;
        for (int i = n - 1; i > 0; i--) {
            if (!fds[i].revents) continue;
            int got = read(fds[i].fd, buffer, sizeof buffer - 1);
            if (got <= 0) {
                close(fds[i].fd);
                fds[i] = fds[--n];
                continue;
            }
            buffer[got] = 0;
            serve(fds[i].fd, buffer);
        }
        if (fds[0].revents && n < MOST) {
            int fd = accept(listener, NULL, NULL);
            if (fd >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                fds[n++] = (struct pollfd){fd, POLLIN, 0};
            }
        }
    }
}
