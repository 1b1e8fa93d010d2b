// Preloaded into a server. Whoever breaks it writes numbers into the file $CHAOS_CONTROL, which both have mapped: what its
// clock adds, by how much its log's syncs are late, whether the next one fails, whether none is
// done. What was done is counted there.
// A sync fails once and succeeds ever after, as the kernel's do once it has dropped the pages: whoever tries again believes
// that all is well.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <stdlib.h>

// The places of the numbers: as in `shim.rs`.
enum { CLOCK_ADDS_NS, CLOCK_GAINS_PPM, CLOCK_GAINS_SINCE_NS, SYNC_LATE_US, SYNC_FAILS, CLOCK_READ, SYNCS_LATE, SYNCS_FAILED,
       SYNCS_LIE, CLOCK_WRONG_NS };

static volatile long long *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close(file);
}

static int real_clock(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock, time);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = real_clock(clock, time);
    if (failed || !control || clock != CLOCK_REALTIME) return failed;
    long long adds = control[CLOCK_ADDS_NS];
    if (control[CLOCK_GAINS_PPM]) {
        struct timespec now;
        real_clock(CLOCK_MONOTONIC, &now);
        long long at = now.tv_sec * 1000000000LL + now.tv_nsec;
        __sync_bool_compare_and_swap(&control[CLOCK_GAINS_SINCE_NS], 0, at);
        long long since = at - control[CLOCK_GAINS_SINCE_NS];
        adds += since / 1000000 * control[CLOCK_GAINS_PPM];
    }
    control[CLOCK_WRONG_NS] = adds;
    if (adds) {
        long long all = time->tv_sec * 1000000000LL + time->tv_nsec + adds;
        time->tv_sec = all / 1000000000LL;
        time->tv_nsec = all % 1000000000LL;
        __sync_fetch_and_add(&control[CLOCK_READ], 1);
    }
    return 0;
}

int fdatasync(int file) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = control ? readlink(link, path, sizeof path - 1) : -1;
    if (length > 0) {
        path[length] = 0;
        if (strstr(path, "/log/")) {
            long long late = control[SYNC_LATE_US];
            if (late) {
                struct timespec wait = {late / 1000000, late % 1000000 * 1000};
                nanosleep(&wait, 0);
                __sync_fetch_and_add(&control[SYNCS_LATE], 1);
            }
            if (control[SYNCS_LIE]) return 0;
            if (__sync_bool_compare_and_swap(&control[SYNC_FAILS], 1, 0)) {
                __sync_fetch_and_add(&control[SYNCS_FAILED], 1);
                errno = EIO;
                return -1;
            }
        }
    }
    return real(file);
}
