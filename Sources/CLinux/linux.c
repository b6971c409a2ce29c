#define _GNU_SOURCE
#include "CLinux.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>

const int linux_O_PATH = O_PATH;

int linux_timerfd_create(void) {
  return timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
}

int linux_timerfd_arm(int fd, int64_t seconds, long nanoseconds) {
  struct itimerspec at = {.it_value = {.tv_sec = seconds, .tv_nsec = nanoseconds}};
  return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL);
}

int linux_forbid_core_files(void) {
  struct rlimit none = {0, 0};
  // The second is the one that counts; a system call filter may forbid the first.
  setrlimit(RLIMIT_CORE, &none);
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int linux_lock_memory(void) {
  struct rlimit limit;
  // Under a bound, MCL_FUTURE would make later allocations fail: then only the
  // key arena is locked. ONFAULT: pages that are never touched stay out.
  if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur != RLIM_INFINITY)
    return 0;
  return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
}

bool linux_may_chown(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {0};
  if (syscall(SYS_capget, &header, data) < 0)
    return false;
  return data[0].effective & (1u << CAP_CHOWN);
}

int linux_is_mount_root(int folder, const char *name) {
  struct statx found;
  if (statx(folder, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &found) < 0)
    return -1;
  return (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

int linux_is_in_memory(int fd) {
  struct statfs found;
  if (fstatfs(fd, &found) < 0)
    return -1;
  return found.f_type == TMPFS_MAGIC || found.f_type == RAMFS_MAGIC;
}

void linux_trim_heap(void) { malloc_trim(0); }

int64_t linux_clock(clockid_t clock) {
  struct timespec now = {0, 0};
  clock_gettime(clock, &now);
  return linux_nanoseconds(now);
}
