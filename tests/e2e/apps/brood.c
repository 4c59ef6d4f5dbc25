/* Makes trouble for whoever wants to end it: BROOD names what it does before it sleeps for ever.
 *   double     a double fork: the grandchild has no parent left    setsid   a child in a session of its own
 *   nohup      a child that ignores SIGHUP and SIGTERM             stubborn  ignores SIGTERM itself
 *   zombies    100 children that end and are never waited for      many     2,000 children
 *   slow       on SIGTERM ends with 7 after 700 ms
 * Several may be named, separated by commas. Writes "settled" when all of it is there. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int wants(const char *what) {
    const char *brood = getenv("BROOD");
    return brood && strstr(brood, what) != NULL;
}
static void forever(void) {
    for (;;) pause();
}
static void slowly(int number) {
    struct timespec t = {0, 700000000L};
    (void)number;
    nanosleep(&t, NULL);
    _exit(7);
}
int main(void) {
    if (wants("double") && fork() == 0) {
        if (fork() == 0) forever();
        _exit(0);
    }
    if (wants("setsid") && fork() == 0) {
        setsid();
        forever();
    }
    if (wants("nohup") && fork() == 0) {
        signal(SIGHUP, SIG_IGN);
        signal(SIGTERM, SIG_IGN);
        forever();
    }
    for (int i = 0; wants("zombies") && i < 100; i++)
        if (fork() == 0) _exit(0);
    for (int i = 0; wants("many") && i < 2000; i++) {
        pid_t child = fork();
        if (child == 0) forever();
        if (child < 0) perror("fork");
    }
    if (wants("stubborn")) signal(SIGTERM, SIG_IGN);
    if (wants("slow")) signal(SIGTERM, slowly);
    puts("settled");
    fflush(stdout);
    forever();
}
