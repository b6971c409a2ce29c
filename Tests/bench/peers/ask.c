// Asks for the path that is its second argument on the Unix socket that is its first, on eight
// connections at once, each of which asks again as soon as it has its answer. Prints, after as many
// seconds as the third says, how many milliseconds the answers took: the median, what 99 of 100
// were within, and the longest.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 8, MOST = 10000000 };

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static int fail(const char *what) {
  perror(what);
  return 1;
}

static int compare(const void *one, const void *other) {
  double difference = *(const double *)one - *(const double *)other;
  return (difference > 0) - (difference < 0);
}

// Whether an answer is whole: its head and as much as it says follows.
static int isWhole(const char *answer, size_t length) {
  const char *end = memmem(answer, length, "\r\n\r\n", 4);
  const char *says = end ? memmem(answer, length, "ontent-", 7) : NULL;
  for (; says && says < end; says = memmem(says + 1, answer + length - says - 1, "ontent-", 7))
    if (strncasecmp(says + 7, "length:", 7) == 0)
      return length >= (size_t)(end + 4 - answer) + strtoul(says + 14, NULL, 10);
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 4)
    return fprintf(stderr, "ask SOCKET PATH SECONDS\n"), 64;
  char request[512];
  int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", argv[2]);
  if (size >= (int)sizeof request)
    return fprintf(stderr, "the path is too long\n"), 64;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[1]);
  int events = epoll_create1(0);
  static struct { int socket; size_t length; double asked; char answer[16384]; } all[CONNECTIONS];
  double *took = malloc(MOST * sizeof *took);
  size_t count = 0;
  for (int each = 0; each < CONNECTIONS; each++) {
    all[each].socket = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(all[each].socket, (struct sockaddr *)&address, sizeof address) < 0)
      return fail(argv[1]);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = each};
    epoll_ctl(events, EPOLL_CTL_ADD, all[each].socket, &event);
    all[each].asked = now();
    if (write(all[each].socket, request, size) != size)
      return fail("write");
  }
  double end = now() + atof(argv[3]) * 1e3;
  while (now() < end && count < MOST) {
    struct epoll_event ready[CONNECTIONS];
    int some = epoll_wait(events, ready, CONNECTIONS, 1000);
    for (int each = 0; each < some; each++) {
      __typeof__(all[0]) *one = &all[ready[each].data.u32];
      ssize_t got = read(one->socket, one->answer + one->length, sizeof one->answer - one->length);
      if (got <= 0)
        return fail("read");
      one->length += got;
      if (!isWhole(one->answer, one->length))
        continue;
      if (strncmp(one->answer, "HTTP/1.1 200", 12) != 0)
        return fprintf(stderr, "%.60s\n", one->answer), 1;
      took[count++] = now() - one->asked;
      one->length = 0;
      one->asked = now();
      if (write(one->socket, request, size) != size)
        return fail("write");
    }
  }
  if (!count)
    return fprintf(stderr, "no answer came\n"), 1;
  qsort(took, count, sizeof *took, compare);
  printf("%.3f %.3f %.3f\n", took[count / 2], took[count * 99 / 100], took[count - 1]);
}
