// Preloaded into jotd by a test: writes down what it does to files, and can make it hang there.
// Works without root, where strace(1) cannot read the memory of a process that is not dumpable.
//
// CALLS_LOG is the file that gets a line for each call. All of /proc/self/fd is named as the
// kernel names it, so that a name in a folder is a whole path.
// CALLS_HOLD is a folder: while a file `hold` is beside it, syncing or renaming in it hangs, as on
// a file system that does not answer; while a file `hold-all` is, opening, removing and asking for
// anything there does; while a file `hold-timer` is, setting the timer for the next rotation does,
// and with it the loop that sets it.
// Every file system passes for one with a disk, so that there is always something to sync.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static int out = -1;
static const char *slow;
static char hold[PATH_MAX], hold_all[PATH_MAX], hold_timer[PATH_MAX];

static int (*real_openat)(int, const char *, int, ...);
static int (*real_fstatat)(int, const char *, struct stat *, int);
static int (*real_stat)(const char *, struct stat *);
static int (*real_fsync)(int);
static int (*real_fchmod)(int, mode_t);
static int (*real_fchown)(int, uid_t, gid_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_fstatfs)(int, struct statfs *);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_settime)(int, int, const struct itimerspec *, struct itimerspec *);

__attribute__((constructor)) static void begin(void) {
  real_openat = dlsym(RTLD_NEXT, "openat");
  real_fstatat = dlsym(RTLD_NEXT, "fstatat");
  real_stat = dlsym(RTLD_NEXT, "stat");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fchmod = dlsym(RTLD_NEXT, "fchmod");
  real_fchown = dlsym(RTLD_NEXT, "fchown");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
  real_renameat = dlsym(RTLD_NEXT, "renameat");
  real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
  real_fstatfs = dlsym(RTLD_NEXT, "fstatfs");
  real_write = dlsym(RTLD_NEXT, "write");
  real_settime = dlsym(RTLD_NEXT, "timerfd_settime");
  out = open(getenv("CALLS_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  slow = getenv("CALLS_HOLD");
  if (slow != NULL)
    snprintf(hold, sizeof hold, "%s/../hold", slow);
  if (slow != NULL)
    snprintf(hold_all, sizeof hold_all, "%s/../hold-all", slow);
  if (slow != NULL)
    snprintf(hold_timer, sizeof hold_timer, "%s/../hold-timer", slow);
}

// The path that a descriptor leads to.
static const char *path_of(int fd, char *room) {
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, room, PATH_MAX - 1);
  room[length > 0 ? length : 0] = 0;
  return room;
}

// One write(2) a line: whole also when several threads say something.
__attribute__((format(printf, 1, 2))) static void say(const char *form, ...) {
  char line[3 * PATH_MAX];
  va_list values;
  va_start(values, form);
  int length = vsnprintf(line, sizeof line, form, values);
  va_end(values);
  int before = errno;
  if (out >= 0 && real_write(out, line, length) < 0)
    abort();
  errno = before;
}

static void wait_for_end_of(const char *file) {
  while (access(file, F_OK) == 0)
    nanosleep(&(struct timespec){0, 5000000}, NULL);
}

static void wait_in(const char *folder) {
  if (slow != NULL && strncmp(folder, slow, strlen(slow)) == 0)
    wait_for_end_of(hold);
}

// For calls with a name, absolute or in a folder.
static void wait_at(int folder, const char *name) {
  char room[PATH_MAX], path[2 * PATH_MAX];
  if (slow == NULL || access(hold_all, F_OK) != 0)
    return;
  if (name[0] == '/')
    snprintf(path, sizeof path, "%s", name);
  else
    snprintf(path, sizeof path, "%s/%s", path_of(folder, room), name);
  if (strncmp(path, slow, strlen(slow)) == 0)
    wait_for_end_of(hold_all);
}

int fstatat(int folder, const char *name, struct stat *found, int flags) {
  wait_at(folder, name);
  return real_fstatat(folder, name, found, flags);
}

int stat(const char *name, struct stat *found) {
  wait_at(AT_FDCWD, name);
  return real_stat(name, found);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old) {
  // libdispatch's own timers do not end when the clock is set.
  if (slow != NULL && flags & TFD_TIMER_CANCEL_ON_SET)
    wait_for_end_of(hold_timer);
  return real_settime(fd, flags, at, old);
}

int openat(int folder, const char *name, int flags, ...) {
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list values;
    va_start(values, flags);
    mode = va_arg(values, mode_t);
    va_end(values);
    char room[PATH_MAX];
    say("openat %s/%s %#x %#o\n", path_of(folder, room), name, flags, mode);
  }
  wait_at(folder, name);
  return real_openat(folder, name, flags, mode);
}

int fsync(int fd) {
  char room[PATH_MAX];
  say("fsync %s\n", path_of(fd, room));
  wait_in(room);
  return real_fsync(fd);
}

int fchmod(int fd, mode_t mode) {
  char room[PATH_MAX];
  say("fchmod %s %#o\n", path_of(fd, room), mode);
  return real_fchmod(fd, mode);
}

int fchown(int fd, uid_t owner, gid_t group) {
  char room[PATH_MAX];
  say("fchown %s %d %d\n", path_of(fd, room), (int)owner, (int)group);
  return real_fchown(fd, owner, group);
}

int ftruncate(int fd, off_t length) {
  char room[PATH_MAX];
  say("ftruncate %s %ld\n", path_of(fd, room), (long)length);
  return real_ftruncate(fd, length);
}

int renameat(int folder, const char *name, int new_folder, const char *new_name) {
  char room[PATH_MAX], new_room[PATH_MAX];
  say("renameat %s/%s %s/%s\n", path_of(folder, room), name, path_of(new_folder, new_room),
      new_name);
  wait_in(room);
  return real_renameat(folder, name, new_folder, new_name);
}

int unlinkat(int folder, const char *name, int flags) {
  char room[PATH_MAX];
  say("unlinkat %s/%s\n", path_of(folder, room), name);
  wait_at(folder, name);
  return real_unlinkat(folder, name, flags);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  struct stat found;
  if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
    char room[PATH_MAX];
    say("write %s %zu\n", path_of(fd, room), count);
  }
  return real_write(fd, bytes, count);
}

int fstatfs(int fd, struct statfs *found) {
  int status = real_fstatfs(fd, found);
  if (status == 0)
    found->f_type = EXT4_SUPER_MAGIC;
  return status;
}
