#pragma once
// Linux calls that Swift's Glibc module does not offer, because they need
// _GNU_SOURCE or are macros. Each returns what the call returns; errno as usual.
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

// timerfd_create(2) on CLOCK_REALTIME, non-blocking, close-on-exec.
int linux_timerfd_create(void);
// timerfd_settime(2), absolute, with TFD_TIMER_CANCEL_ON_SET.
int linux_timerfd_arm(int fd, int64_t seconds, long nanoseconds);

// prctl(PR_SET_DUMPABLE, 0) and RLIMIT_CORE 0: no core file, no ptrace by the same user.
int linux_forbid_core_files(void);
// mlockall(2) of what is and will be touched, where RLIMIT_MEMLOCK sets no bound; 1 when locked.
int linux_lock_memory(void);
// capget(2): whether CAP_CHOWN is in the effective set.
bool linux_may_chown(void);

// statx(2): 1 when the name is the root of a mount, 0 when not, -1 on error.
int linux_is_mount_root(int folder, const char *name);
// fstatfs(2): 1 when the file system keeps its files in memory only, 0 when not, -1 on error.
int linux_is_in_memory(int fd);
// open(2) flags that need _GNU_SOURCE.
extern const int linux_O_PATH;

// malloc_trim(3): gives freed memory back to the kernel.
void linux_trim_heap(void);

// clock_gettime(2), in nanoseconds.
int64_t linux_clock(clockid_t clock);

// A time of stat(2), since 1970.
static inline int64_t linux_nanoseconds(struct timespec time) {
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}
