/* The smallest web server that keeps connections: answers each request on $HOST:$PORT (else on 127.0.0.1) with the
 * same 128 bytes. Requests have no bodies. One thread, epoll. SIGTERM ends it, also as process 1 of a container. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 65536
#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n"

static unsigned char matched[MOST]; /* of "\r\n\r\n", by descriptor: a request may come in pieces */
static char answer[sizeof HEAD - 1 + 128];

static int requests_in(int fd, const char *data, int length) {
    static const char end[] = "\r\n\r\n";
    int found = 0;
    for (int i = 0; i < length; i++) {
        if (data[i] == end[matched[fd]]) matched[fd]++;
        else matched[fd] = data[i] == '\r';
        if (matched[fd] == 4) matched[fd] = 0, found++;
    }
    return found;
}

static int serve(int fd) {
    static char data[65536];
    int length = read(fd, data, sizeof data);
    if (length <= 0) return -1;
    for (int n = requests_in(fd, data, length); n > 0; n--)
        if (send(fd, answer, sizeof answer, MSG_NOSIGNAL) != (int)sizeof answer) return -1;
    return 0;
}

int main(void) {
    const char *port = getenv("PORT"), *host = getenv("HOST");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(host ? host : "127.0.0.1")};
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    if (!port) return 2;
    signal(SIGTERM, _exit);
    at.sin_port = htons(atoi(port));
    memcpy(answer, HEAD, sizeof HEAD - 1);
    memset(answer + sizeof HEAD - 1, 'x', 128);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) return 98;
    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (serve(fd)) close(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, 0)) >= 0) {
                if (fd >= MOST) {
                    close(fd);
                    continue;
                }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                matched[fd] = 0;
                event.data.fd = fd;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
