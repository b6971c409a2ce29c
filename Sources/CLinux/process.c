#define _GNU_SOURCE
#include "linux_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

static void close_all(const int *numbers, int count) {
  int error = errno;
  for (int index = 0; index < count; index++)
    if (numbers[index] >= 0)
      close(numbers[index]);
  errno = error;
}

int linux_memory_file(const void *bytes, int64_t count) {
  // Some hosts want to hear that it is no program; kernels before 6.3 do not know the flag.
  int fd = memfd_create("names", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL)
    fd = memfd_create("names", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return -1;
  for (int64_t written = 0; written < count;) {
    ssize_t part = write(fd, (const char *)bytes + written, count - written);
    if (part < 0 && errno == EINTR)
      continue;
    if (part <= 0) {
      close_all(&fd, 1);
      return -1;
    }
    written += part;
  }
  if (lseek(fd, 0, SEEK_SET) < 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
    close_all(&fd, 1);
    return -1;
  }
  return fd;
}

// MARK: The child, until it is the program. It shares no memory with the daemon, and makes only
// calls that are safe in a signal handler (signal-safety(7)): other threads' locks stay locked
// here.

struct plan {
  char *const *arguments;
  char *const *environment;
  int input, output, control;
  uint64_t files;
};

// The descriptor itself, or a copy, where the numbers of the standard ones and the next are free.
static int above(int fd) { return fd > 3 ? fd : fcntl(fd, F_DUPFD, 4); }

static int arrange_descriptors(struct plan *plan) {
  int input = above(plan->input), output = above(plan->output), control = above(plan->control);
  if (input < 0 || output < 0 || control < 0)
    return -1;
  if (dup3(control, 3, O_CLOEXEC) < 0)
    return -1;
  plan->control = 3;
  if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
    return -1;
  closefrom(4);
  return 0;
}

// What the program could pass on or be given by the file it is in. What is effective ends with
// execve(2) by itself, unless the user is root.
static int drop_capabilities(void) {
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return -1;
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
  if (syscall(SYS_capget, &header, data) < 0)
    return -1;
  if (data[0].inheritable == 0 && data[1].inheritable == 0)
    return 0;
  data[0].inheritable = data[1].inheritable = 0;
  return syscall(SYS_capset, &header, data);
}

// By system calls: the C library keeps two signals for itself, refuses to reset them, and leaves
// them ignored in what posix_spawn(3) starts, as make(1) does.
static void usual_signals(void) {
  struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
  } usual = {0};
  for (int number = 1; number <= 64; number++)
    syscall(SYS_rt_sigaction, number, &usual, NULL, sizeof usual.mask);
  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

static _Noreturn void become(struct plan *plan) {
  int failed = LINUX_STARTING_PROGRAM;
  char word;
  ssize_t heard;
  if (arrange_descriptors(plan) == 0) {
    while ((heard = recv(plan->control, &word, 1, 0)) < 0 && errno == EINTR)
      ;
    // The daemon has ended or has thought better of it.
    if (heard != 1)
      syscall(SYS_exit_group, 127);
    usual_signals();
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
      files.rlim_cur = plan->files < files.rlim_max ? plan->files : files.rlim_max;
      setrlimit(RLIMIT_NOFILE, &files);
    }
    failed = LINUX_STARTING_RIGHTS;
    if (drop_capabilities() == 0) {
      failed = LINUX_STARTING_PROGRAM;
      execve(plan->arguments[0], plan->arguments, plan->environment);
    }
  }
  int report[2] = {failed, errno};
  send(plan->control, report, sizeof report, MSG_NOSIGNAL);
  // Not _exit(2), which the leak check of the tests takes for the end of the daemon.
  for (;;)
    syscall(SYS_exit_group, 127);
}

// MARK: The daemon's side

int linux_process_start(char *const *arguments, char *const *environment, int input, uint64_t files,
                        struct linux_process *started) {
  int ends[4] = {-1, -1, -1, -1};
  if (pipe2(ends, O_CLOEXEC) < 0)
    return -1;
  if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends + 2) < 0) {
    close_all(ends, 4);
    return -1;
  }
  struct plan plan = {arguments, environment, input, ends[1], ends[3], files};
  // No handler of the daemon's runs in the child: it would write to the daemon's own pipe.
  sigset_t all, before;
  sigfillset(&all);
  int error = pthread_sigmask(SIG_SETMASK, &all, &before);
  int pid = error == 0 ? fork() : -1;
  if (pid == 0) {
    close(ends[2]);
    become(&plan);
  }
  if (error == 0) {
    error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  errno = error;
  int end = -1;
  if (pid > 0 && (setpgid(pid, pid) < 0 || (end = syscall(SYS_pidfd_open, pid, 0)) < 0)) {
    error = errno;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
      ;
    errno = error;
    pid = -1;
  }
  close_all((int[]){ends[1], ends[3]}, 2);
  if (pid < 0) {
    close_all((int[]){ends[0], ends[2]}, 2);
    return -1;
  }
  *started = (struct linux_process){pid, end, ends[2], ends[0], 0, LINUX_STARTING_NOTHING};
  return 0;
}

static int64_t milliseconds_now(void) {
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void close_one(int *fd) {
  close_all(fd, 1);
  *fd = -1;
}

// Stores what fits of what was printed. Returns the count; 0 when there is nothing now.
static int store(struct linux_process *process, char *output, int room, int *length) {
  ssize_t count = read(process->output, output + *length, room - *length);
  if (count > 0)
    *length += count;
  else if (count == 0 || (errno != EAGAIN && errno != EINTR))
    close_one(&process->output);
  return count > 0 ? (int)count : 0;
}

// Throws a pipe's fill away.
static void discard(struct linux_process *process) {
  char spare[64 << 10];
  ssize_t count = read(process->output, spare, sizeof spare);
  if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR))
    close_one(&process->output);
}

static void hear(struct linux_process *process) {
  int report[2];
  if (recv(process->control, report, sizeof report, MSG_DONTWAIT) == sizeof report) {
    process->failed = report[0];
    process->error = report[1];
  }
  close_one(&process->control);
}

int linux_process_watch(struct linux_process *process, int milliseconds, int pause, char *output,
                        int room, int *length) {
  while (send(process->control, "", 1, MSG_NOSIGNAL) < 0) {
    if (errno == EINTR)
      continue;
    process->failed = LINUX_STARTING_PROGRAM;
    process->error = errno;
    return 1;
  }
  int64_t late = milliseconds_now() + milliseconds, resume = 0;
  for (int64_t now; (now = milliseconds_now()) < late;) {
    bool paused = now < resume;
    int64_t until = paused && resume < late ? resume : late;
    struct pollfd watched[3] = {{.fd = process->end, .events = POLLIN},
                                {.fd = process->control, .events = POLLIN},
                                {.fd = paused ? -1 : process->output, .events = POLLIN}};
    if (poll(watched, 3, (int)(until - now)) < 0 && errno != EINTR) {
      // Without memory for poll(2), or anything else: not as fast as it can.
      struct timespec while_away = {0, 10000000};
      nanosleep(&while_away, NULL);
      continue;
    }
    if (watched[1].revents)
      hear(process);
    if (watched[2].revents) {
      if (*length < room) {
        store(process, output, room, length);
      } else {
        discard(process);
        resume = now + pause;
      }
    }
    if (watched[0].revents)
      return 1;
  }
  return 0;
}

void linux_process_kill_group(int pid) { kill(-pid, SIGKILL); }

int linux_process_end(struct linux_process *process, int milliseconds, char *output, int room,
                      int *length) {
  linux_process_kill_group(process->pid);
  // It may have gone to another group; then there may be none of its own.
  syscall(SYS_pidfd_send_signal, process->end, SIGKILL, NULL, 0);
  struct pollfd end = {.fd = process->end, .events = POLLIN};
  int64_t late = milliseconds_now() + milliseconds;
  int ready;
  while ((ready = poll(&end, 1, milliseconds)) < 0 && milliseconds_now() < late)
    ;
  if (ready > 0 && process->control >= 0)
    hear(process);
  while (process->output >= 0 && *length < room && store(process, output, room, length) > 0)
    ;
  close_all((int[]){process->end, process->control, process->output}, 3);
  return ready > 0;
}

int linux_process_reap(int pid, int *status) {
  int found;
  while ((found = waitpid(pid, status, WNOHANG)) < 0 && errno == EINTR)
    ;
  return found != 0;
}
