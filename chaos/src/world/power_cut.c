// Cuts the power of a disk: an ext4 file system takes nothing more, and forgets what was not synced.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

// EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_NOLOGFLUSH of Linux's fs/ext4/ext4.h.
#define SHUTDOWN _IOR('X', 125, uint32_t)

int main(int count, char **words) {
    uint32_t without_flushing = 2;
    int folder = count == 2 ? open(words[1], O_RDONLY) : -1;
    if (folder < 0 || ioctl(folder, SHUTDOWN, &without_flushing)) {
        perror(count == 2 ? words[1] : "a folder is wanted");
        return 1;
    }
    return 0;
}
