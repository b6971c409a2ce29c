#pragma once
// Programs that are not jotd's own, run so that whatever they do costs a bounded time.
#include <stdint.h>

struct linux_process {
  int pid;
  // Readable from the program's end on (pidfd_open(2)).
  int end;
  // Until the program begins: tells it to, and is told what was in the way.
  int control;
  // What the program prints; -1 once nothing more can come.
  int output;
  // Why the program did not begin: errno and what was being done; 0 when it did begin.
  int error;
  enum { LINUX_STARTING_NOTHING, LINUX_STARTING_RIGHTS, LINUX_STARTING_PROGRAM } failed;
};

// A sealed file in memory with these bytes, to be read from its beginning (memfd_create(2)); -1
// with errno.
int linux_memory_file(const void *bytes, int64_t count);

// A child in a process group of its own, which waits for linux_process_watch to become the program:
// with `input` as its standard input, both outputs in a pipe, no other descriptor, signals as a
// program expects them, `files` as its RLIMIT_NOFILE, and no capability to pass on. -1 with errno.
int linux_process_start(char *const *arguments, char *const *environment, int input, uint64_t files,
                        struct linux_process *started);
// Lets the program begin and waits for its end, for `milliseconds` at most whatever it prints. What
// it prints is stored as far as it fits; the rest is thrown away, at most 64 KiB in `pause`
// milliseconds, so that a program that prints more waits for its pipe. Returns 1 when it ended.
int linux_process_watch(struct linux_process *process, int milliseconds, int pause, char *output,
                        int room, int *length);
// Kills the group and the program, waits for the program's end for `milliseconds` at most, adds
// what is left of its output, and closes all descriptors. The pid stays taken until
// linux_process_reap. Returns 1 when it ended.
int linux_process_end(struct linux_process *process, int milliseconds, char *output, int room,
                      int *length);
// Kills a process group, as far as jotd may.
void linux_process_kill_group(int pid);
// waitpid(2) without waiting: 1 with the status when the process ended, 0 when it did not.
int linux_process_reap(int pid, int *status);
