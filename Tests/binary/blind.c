// Preloaded into jotd by a test: no folder can be watched, as when the kernel's watches are used
// up.
#include <errno.h>
#include <stdint.h>

int inotify_add_watch(int watch, const char *path, uint32_t events) {
  (void)watch, (void)path, (void)events;
  errno = ENOSPC;
  return -1;
}
