#pragma once
// Linux calls that Swift's Glibc module does not offer, or not in a form that Swift can use. Where
// nothing else is said, a function returns what the call returns, with errno as usual.
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "linux_process.h"

// timerfd_create(2) on CLOCK_REALTIME, non-blocking, close-on-exec.
int linux_timerfd_create(void);
// timerfd_settime(2), absolute, with TFD_TIMER_CANCEL_ON_SET.
int linux_timerfd_arm(int fd, int64_t seconds, long nanoseconds);

// From now on SIGTERM, SIGINT and SIGHUP go into a pipe, which never blocks; returns the end to
// read them from, -1 on error.
int linux_catch_signals(void);
// The number of the next signal in that pipe; 0 when there is none.
int linux_next_signal(int fd);

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
// getxattr(2): whether what is at a path has an access control list (acl(5)) beside its mode.
bool linux_has_access_list(const char *path);
// 1 for a Unix stream socket that listens, or with `internet` also one of TCP; 0 for anything else.
int linux_is_listening(int fd, int internet);
// flock(2), exclusive, without waiting.
int linux_lock(int fd);
// 1 when poll(2) says that a descriptor has an exceptional condition: mounts changed (proc(5)).
int linux_has_priority_data(int fd);
// open(2) flags that need _GNU_SOURCE.
extern const int linux_O_PATH;

// pthread_create(3): a detached thread that calls `body` with `argument`, and gets no signal
// but those of faults of its own. 0, or -1 with errno.
int linux_start_thread(void (*body)(void *), void *argument);

// Carries out what is put on libdispatch's main queue, for ever, on the thread that calls, which is
// the first of the process. libdispatch has the means for those who write run loops. Under
// dispatch_main(3) that thread would sleep, and each turn of the queue wake one of libdispatch's.
_Noreturn void linux_serve_main_queue(void);

// mallopt(3), M_ARENA_MAX: at most two heaps, where each thread would grow one of its own.
void linux_bound_heaps(void);
// malloc_trim(3): gives freed memory back to the kernel.
void linux_trim_heap(void);

// Who is at the other end of a connected Unix socket (unix(7), SO_PEERCRED, SO_PEERGROUPS,
// SO_PEERPIDFD).
struct linux_peer {
  int pid;
  uint32_t uid;
  uint32_t gid;
  // A pidfd of the process, -1 where the kernel gives none: it has no SO_PEERPIDFD, or the process
  // ended. The caller closes it.
  int pidfd;
};
int linux_ask_peer(int socket, struct linux_peer *peer);
// The peer's user alone.
int linux_peer_user(int socket, uint32_t *user);
// Whether the kernel has SO_PEERPIDFD (Linux 6.5).
bool linux_tells_peer_process(void);
// The supplementary groups; their number, -1 on error.
int linux_peer_groups(int socket, uint32_t *groups, int room);
// 1 when the process of a pidfd lives, 0 when it ended, -1 on error.
int linux_is_alive(int pidfd);

// A Unix stream socket bound to a path, which must not be there; mode 0600, not listening yet.
int linux_bind(const char *path);
// 1 when somebody listens at a path, 0 when nobody does, -1 on error.
int linux_is_answered(const char *path);
// Bytes that sun_path holds, without the NUL (unix(7)).
extern const int linux_socket_path_bytes;
// Occupies those of the descriptors 0 to 2 that are closed, with what can be neither read nor
// written.
void linux_occupy_standard_descriptors(void);
// Sets the soft RLIMIT_NOFILE to the hard one, but to 65,536 at most.
void linux_raise_file_limit(void);
// What RLIMIT_NOFILE was before it was raised, for other programs.
uint64_t linux_file_limit_at_start(void);
// The limit that applies; 0 on error.
int64_t linux_file_limit(void);

// clock_gettime(2), in nanoseconds.
int64_t linux_clock(clockid_t clock);

// A time of stat(2), in nanoseconds since 1970. A file's time can be further away than 64 bits
// hold: it becomes the nearest that they do.
static inline int64_t linux_nanoseconds(struct timespec time) {
  int64_t whole;
  if (__builtin_mul_overflow((int64_t)time.tv_sec, 1000000000LL, &whole))
    return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;
  int64_t sum;
  if (__builtin_add_overflow(whole, (int64_t)time.tv_nsec, &sum)) return INT64_MAX;
  return sum;
}

// A Unix stream socket connected to a path; each read and write on it takes `seconds` at most.
int linux_connect(const char *path, int seconds);
// Columns, and lines, of the terminal on standard output; 0 when it is none.
int linux_terminal_columns(void);
int linux_terminal_lines(void);

// The address of a socket's peer, or its own; the length of its name after sun_family, -1 on error.
// An abstract name begins with a zero byte (unix(7)).
int linux_peer_address(int socket, char *name, int room);
int linux_own_address(int socket, char *name, int room);

// pidfd_open(2) and pidfd_send_signal(2).
int linux_open_process(int pid);
int linux_signal_process(int pidfd, int signal);
