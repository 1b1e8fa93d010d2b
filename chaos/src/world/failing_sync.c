// Preloaded into a server: its disk fails one fdatasync of a file whose path has $FAIL_SYNC_OF in it, once the file
// $FAIL_SYNC_WHEN is there; that file is removed. Every later sync succeeds, as the kernel's do after it dropped the
// pages: whoever tries again believes that all is well.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *of = getenv("FAIL_SYNC_OF"), *when = getenv("FAIL_SYNC_WHEN");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (of && when && length > 0) {
        path[length] = 0;
        if (strstr(path, of) && unlink(when) == 0) {
            errno = EIO;
            return -1;
        }
    }
    return real(fd);
}
