// Preloaded into jotd by a test: a wall clock that the test can set, for this process alone.
// The file named by CLOCK_OFFSET holds nanoseconds to add to CLOCK_REALTIME, as a 64-bit number.
// When they change, a timerfd armed with TFD_TIMER_CANCEL_ON_SET ends with ECANCELED, as
// timerfd_create(2) says it does when the clock is set; one armed without it ends by the new clock.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;
static volatile int timer = -1;
static volatile int cancelled;
// How the timer was armed last.
static volatile int armed_flags;
static struct itimerspec armed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_create)(int, int);
static int (*real_settime)(int, int, const struct itimerspec *, struct itimerspec *);
static ssize_t (*real_read)(int, void *, size_t);

static void add(struct timespec *time, int64_t nanoseconds) {
  int64_t sum = (int64_t)time->tv_sec * 1000000000 + time->tv_nsec + nanoseconds;
  if (sum < 1)
    sum = 1;
  time->tv_sec = sum / 1000000000;
  time->tv_nsec = sum % 1000000000;
}

static void *watch(void *unused) {
  int64_t known = *offset;
  for (;;) {
    struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
    if (*offset == known || timer < 0)
      continue;
    pthread_mutex_lock(&lock);
    known = *offset;
    struct itimerspec at = armed;
    if (armed_flags & TFD_TIMER_CANCEL_ON_SET) {
      cancelled = 1;
      at.it_value = (struct timespec){.tv_sec = 1};
    } else {
      add(&at.it_value, -known);
    }
    real_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    pthread_mutex_unlock(&lock);
  }
  return unused;
}

__attribute__((constructor)) static void begin(void) {
  real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  real_create = dlsym(RTLD_NEXT, "timerfd_create");
  real_settime = dlsym(RTLD_NEXT, "timerfd_settime");
  real_read = dlsym(RTLD_NEXT, "read");
  int fd = open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
  offset = mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  pthread_t thread;
  pthread_create(&thread, NULL, watch, NULL);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int status = real_gettime(clock, time);
  if (clock == CLOCK_REALTIME)
    add(time, *offset);
  return status;
}

int timerfd_create(int clock, int flags) {
  int fd = real_create(clock, flags);
  // libdispatch's own timers are on other clocks, or without CANCEL_ON_SET.
  if (clock == CLOCK_REALTIME && timer < 0)
    timer = fd;
  return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old) {
  if (fd != timer)
    return real_settime(fd, flags, at, old);
  pthread_mutex_lock(&lock);
  armed = *at;
  armed_flags = flags;
  struct itimerspec shifted = *at;
  add(&shifted.it_value, -*offset);
  int status = real_settime(fd, flags, &shifted, old);
  pthread_mutex_unlock(&lock);
  return status;
}

ssize_t read(int fd, void *buffer, size_t count) {
  ssize_t status = real_read(fd, buffer, count);
  if (fd == timer && status > 0 && cancelled) {
    cancelled = 0;
    errno = ECANCELED;
    return -1;
  }
  return status;
}
