// Watches the folder that is its first argument, says "watching", and then the name and the moment
// (seconds since 1970) of each file that is renamed to there, for as many as the second says.
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3)
    return fprintf(stderr, "watch FOLDER COUNT\n"), 64;
  long left = atol(argv[2]);
  int notices = inotify_init1(IN_CLOEXEC);
  if (notices < 0 || inotify_add_watch(notices, argv[1], IN_MOVED_TO | IN_ONLYDIR) < 0)
    return perror(argv[1]), 1;
  puts("watching");
  fflush(stdout);
  while (left > 0) {
    _Alignas(struct inotify_event) char some[65536];
    ssize_t length = read(notices, some, sizeof some);
    if (length <= 0)
      return perror("read"), 1;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (char *at = some; at < some + length && left > 0;) {
      struct inotify_event *notice = (struct inotify_event *)at;
      if (notice->mask & IN_Q_OVERFLOW)
        return fprintf(stderr, "too many renames at once\n"), 1;
      printf("%s %ld.%06ld\n", notice->name, (long)now.tv_sec, now.tv_nsec / 1000);
      at += sizeof *notice + notice->len;
      left--;
    }
  }
  return 0;
}
