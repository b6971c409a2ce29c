// Makes the system calls of jotd's deliveries for as many files as its second argument says, in the
// folder that is the first, and prints the seconds that took: what the kernel costs at the least.
// The third is a token's length, the fourth how what is written is made durable: none, each (a sync
// of each file and of the folder), or all (one syncfs for all, and then the renames).
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void name(char *to, long each, int isTemporary) {
  sprintf(to, isTemporary ? ".%06ld.%016lx.jotd" : "%06ld", each, each);
}

static int fail(const char *what) {
  perror(what);
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 5)
    return fprintf(stderr, "deliver FOLDER COUNT BYTES none|each|all\n"), 64;
  long count = atol(argv[2]), bytes = atol(argv[3]);
  int isEach = strcmp(argv[4], "each") == 0, isAll = strcmp(argv[4], "all") == 0;
  char *token = malloc(bytes), from[64], to[64];
  memset(token, 'x', bytes);
  int folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0)
    return fail(argv[1]);
  struct timespec began, ended;
  clock_gettime(CLOCK_MONOTONIC, &began);
  for (int second = 0; second < (isAll ? 2 : 1); second++) {
    for (long each = 0; each < count; each++) {
      struct stat found;
      name(from, each, 1);
      name(to, each, 0);
      if (!second) {
        fstatat(folder, to, &found, AT_SYMLINK_NOFOLLOW);
        int file = openat(folder, from, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file < 0 || write(file, token, bytes) != bytes || fchmod(file, 0600) < 0)
          return fail(from);
        if (isEach && fsync(file) < 0)
          return fail("fsync");
        close(file);
      }
      if (!isAll || second) {
        if (renameat(folder, from, folder, to) < 0)
          return fail(to);
        if (isEach && fsync(folder) < 0)
          return fail("fsync");
      }
    }
    if (isAll && !second && syncfs(folder) < 0)
      return fail("syncfs");
  }
  if (isAll && fsync(folder) < 0)
    return fail("fsync");
  clock_gettime(CLOCK_MONOTONIC, &ended);
  printf("%.9f\n",
         (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9);
}
