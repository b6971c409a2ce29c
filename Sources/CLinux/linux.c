#define _GNU_SOURCE
#include "CLinux.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <errno.h>
#include <linux/magic.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

const int linux_O_PATH = O_PATH;

int linux_timerfd_create(void) {
  return timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
}

int linux_timerfd_arm(int fd, int64_t seconds, long nanoseconds) {
  struct itimerspec at = {.it_value = {.tv_sec = seconds, .tv_nsec = nanoseconds}};
  return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL);
}

static int signal_pipe[2] = {-1, -1};

static void pass_on(int number) {
  int before = errno;
  unsigned char byte = (unsigned char)number;
  // A full pipe holds enough of them.
  if (write(signal_pipe[1], &byte, 1) < 0) errno = before;
}

int linux_catch_signals(void) {
  if (pipe2(signal_pipe, O_NONBLOCK | O_CLOEXEC) < 0) return -1;
  struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
  if (sigaction(SIGTERM, &action, NULL) < 0 || sigaction(SIGINT, &action, NULL) < 0 ||
      sigaction(SIGHUP, &action, NULL) < 0)
    return -1;
  return signal_pipe[0];
}

int linux_next_signal(int fd) {
  unsigned char byte;
  return read(fd, &byte, 1) == 1 ? byte : 0;
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

bool linux_has_access_list(const char *path) {
  return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

int linux_is_listening(int fd, int internet) {
  int domain = 0, type = 0, listens = 0;
  socklen_t size = sizeof(int);
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
         (domain == AF_UNIX || (internet && (domain == AF_INET || domain == AF_INET6))) &&
         getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
         getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens;
}

int linux_lock(int fd) { return flock(fd, LOCK_EX | LOCK_NB); }

int linux_has_priority_data(int fd) {
  struct pollfd change = {.fd = fd, .events = POLLPRI};
  return poll(&change, 1, 0) == 1;
}

int _dispatch_get_main_queue_handle_4CF(void);
void _dispatch_main_queue_callback_4CF(void *);

void linux_serve_main_queue(void) {
  struct pollfd work = {.fd = _dispatch_get_main_queue_handle_4CF(), .events = POLLIN};
  for (;;) {
    eventfd_t count;
    if (poll(&work, 1, -1) < 1)
      continue;
    eventfd_read(work.fd, &count);
    _dispatch_main_queue_callback_4CF(NULL);
  }
}

struct start {
  void (*body)(void *);
  void *argument;
};

static void *run_body(void *argument) {
  struct start start = *(struct start *)argument;
  free(argument);
  start.body(start.argument);
  return NULL;
}

int linux_start_thread(void (*body)(void *), void *argument) {
  struct start *start = malloc(sizeof *start);
  if (!start)
    return -1;
  *start = (struct start){body, argument};
  // The thread has the mask of the one that makes it. Faults of its own stay unblocked: who reports
  // them would not be called.
  sigset_t others, before;
  sigfillset(&others);
  const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  for (unsigned each = 0; each < sizeof faults / sizeof *faults; each++)
    sigdelset(&others, faults[each]);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  int error = pthread_sigmask(SIG_SETMASK, &others, &before);
  if (error == 0) {
    error = pthread_create(&thread, &attributes, run_body, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  pthread_attr_destroy(&attributes);
  if (error == 0)
    return 0;
  free(start);
  errno = error;
  return -1;
}

void linux_bound_heaps(void) { mallopt(M_ARENA_MAX, 2); }

void linux_trim_heap(void) { malloc_trim(0); }

int64_t linux_clock(clockid_t clock) {
  struct timespec now = {0, 0};
  clock_gettime(clock, &now);
  return linux_nanoseconds(now);
}

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int linux_ask_peer(int socket, struct linux_peer *peer) {
  struct ucred credentials;
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
    return -1;
  int pidfd = -1;
  size = sizeof pidfd;
  // By number alone nothing is known of a process: its number may be another's by now.
  if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
    pidfd = -1;
  *peer = (struct linux_peer){credentials.pid, credentials.uid, credentials.gid, pidfd};
  return 0;
}

int linux_peer_user(int socket, uint32_t *user) {
  struct ucred credentials;
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
    return -1;
  *user = credentials.uid;
  return 0;
}

bool linux_tells_peer_process(void) {
  int ends[2], pidfd = -1;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return true;
  socklen_t size = sizeof pidfd;
  bool tells =
      getsockopt(ends[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0 || errno != ENOPROTOOPT;
  if (pidfd >= 0)
    close(pidfd);
  close(ends[0]);
  close(ends[1]);
  return tells;
}

int linux_peer_groups(int socket, uint32_t *groups, int room) {
  socklen_t size = room * sizeof *groups;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
    return -1;
  return size / sizeof *groups;
}

int linux_is_alive(int pidfd) {
  struct pollfd end = {.fd = pidfd, .events = POLLIN};
  int ready = poll(&end, 1, 0);
  return ready < 0 ? -1 : ready == 0;
}

const int linux_socket_path_bytes = sizeof ((struct sockaddr_un *)0)->sun_path - 1;

// A new stream socket for a path, whose address is stored; -1 with errno.
static int stream_socket(const char *path, int flags, struct sockaddr_un *at) {
  *at = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof at->sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(at->sun_path, path);
  return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

// Closes a descriptor after a failure, whose errno stays.
static int give_up(int fd) {
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int linux_bind(const char *path) {
  struct sockaddr_un at;
  int fd = stream_socket(path, SOCK_NONBLOCK, &at);
  if (fd < 0)
    return -1;
  // The mode that the socket's inode gets, where the kernel takes it from there.
  fchmod(fd, 0600);
  return bind(fd, (struct sockaddr *)&at, sizeof at) < 0 ? give_up(fd) : fd;
}

int linux_is_answered(const char *path) {
  struct sockaddr_un at;
  int fd = stream_socket(path, SOCK_NONBLOCK, &at);
  if (fd < 0)
    return -1;
  if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
    close(fd);
    return 1;
  }
  give_up(fd);
  // A full backlog is a sign of life, too.
  if (errno == EAGAIN)
    return 1;
  return errno == ECONNREFUSED || errno == ENOENT ? 0 : -1;
}

static uint64_t files_at_start = 1024;

uint64_t linux_file_limit_at_start(void) { return files_at_start; }

void linux_occupy_standard_descriptors(void) {
  int fd;
  // open(2) gives the lowest number that is free.
  do fd = open("/", O_PATH);
  while (fd >= 0 && fd <= 2);
  if (fd > 2) close(fd);
}

void linux_raise_file_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    files_at_start = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

int64_t linux_file_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
    return 0;
  return limit.rlim_cur < INT32_MAX ? (int64_t)limit.rlim_cur : INT32_MAX;
}

int linux_connect(const char *path, int seconds) {
  struct sockaddr_un at;
  int fd = stream_socket(path, 0, &at);
  if (fd < 0)
    return -1;
  struct timeval limit = {.tv_sec = seconds};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return connect(fd, (struct sockaddr *)&at, sizeof at) < 0 ? give_up(fd) : fd;
}

int linux_terminal_columns(void) {
  struct winsize size;
  return ioctl(1, TIOCGWINSZ, &size) < 0 ? 0 : size.ws_col;
}

int linux_terminal_lines(void) {
  struct winsize size;
  return ioctl(1, TIOCGWINSZ, &size) < 0 ? 0 : size.ws_row;
}

static int name_of(const struct sockaddr_un *at, socklen_t size, char *name, int room) {
  int length = (int)size - (int)offsetof(struct sockaddr_un, sun_path);
  if (at->sun_family != AF_UNIX || length > room) {
    errno = EINVAL;
    return -1;
  }
  // A path's NUL, where it is counted, is no part of the name.
  if (length > 0 && at->sun_path[0] != 0)
    length = (int)strnlen(at->sun_path, length);
  memcpy(name, at->sun_path, length > 0 ? length : 0);
  return length > 0 ? length : 0;
}

int linux_peer_address(int socket, char *name, int room) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  socklen_t size = sizeof at;
  if (getpeername(socket, (struct sockaddr *)&at, &size) < 0)
    return -1;
  return name_of(&at, size, name, room);
}

int linux_own_address(int socket, char *name, int room) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  socklen_t size = sizeof at;
  if (getsockname(socket, (struct sockaddr *)&at, &size) < 0)
    return -1;
  return name_of(&at, size, name, room);
}

int linux_open_process(int pid) { return syscall(SYS_pidfd_open, pid, 0); }

int linux_signal_process(int pidfd, int signal) {
  return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}
