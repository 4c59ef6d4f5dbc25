/* Writes to stdout as its environment says, then exits with EXIT_CODE or stays.
 *   LINES     how many numbered lines (default 0)        SIZE      bytes a line with its newline (default 16)
 *   PAUSE_MS  after each line                            FLOOD_MS  first so long as fast as it can, 100-byte lines
 *   HOSTILE   first NUL, ANSI, invalid UTF-8, a lone CR and one line of so many MB
 *   GATE      a file to wait for before the first line   LAST_GATE  another, before the last one   EXIT_CODE */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}
static void all(const char *data, size_t size) {
    while (size) {
        ssize_t n = write(1, data, size);
        if (n <= 0) _exit(90);
        data += n;
        size -= n;
    }
}
static void hostile(long megabytes) {
    static char block[1 << 20];
    const char odd[] = "nul[\0]\nansi[\033[31mred\033[0m]\nbad utf-8[\xff\xfe\xc3]\ncr[\r]\n";
    all(odd, sizeof odd - 1);
    memset(block, 'x', sizeof block);
    for (long i = 0; i < megabytes; i++) all(block, sizeof block);
    all("\nafter\n", 7);
}
static void wait_for(const char *gate) {
    while (gate && access(gate, F_OK)) usleep(5000);
}
int main(void) {
    long lines = number("LINES", 0), size = number("SIZE", 16), pause_ms = number("PAUSE_MS", 0);
    double until = now() + number("FLOOD_MS", 0);
    wait_for(getenv("GATE"));
    if (getenv("HOSTILE")) hostile(number("HOSTILE", 1));
    if (getenv("FLOOD_MS")) {
        static char block[64000];
        memset(block, 'f', sizeof block);
        for (size_t at = 99; at < sizeof block; at += 100) block[at] = '\n';
        while (now() < until) all(block, sizeof block);
    }
    char *line = malloc(size + 32);
    for (long i = 0; i < lines; i++) {
        memset(line, '.', size);
        line[snprintf(line, size, "%08ld", i)] = '.';
        line[size - 1] = '\n';
        if (i == lines - 1) wait_for(getenv("LAST_GATE"));
        all(line, size);
        if (pause_ms) usleep(pause_ms * 1000);
    }
    if (getenv("EXIT_CODE")) return (int)number("EXIT_CODE", 0);
    for (;;) pause();
}
