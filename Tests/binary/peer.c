// Preloaded into jotd by a test: a caller as the kernel might show it. Works without root.
//
// PEER_UID is the user of whoever connects, in place of the real one (SO_PEERCRED).
// PEER_CGROUP is a file that is read for the control group of every process.
// PEER_NAME is the name of that user, for which a name service is asked that hangs while the file
// PEER_NAMES_HANG is there.
// PEER_PIDFD_ERRNO is the number of the error that SO_PEERPIDFD ends with.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
  static int (*real)(int, int, int, void *, socklen_t *);
  if (real == NULL)
    real = dlsym(RTLD_NEXT, "getsockopt");
  const char *error = getenv("PEER_PIDFD_ERRNO"), *user = getenv("PEER_UID");
  if (level == SOL_SOCKET && name == SO_PEERPIDFD && error != NULL) {
    errno = atoi(error);
    return -1;
  }
  int status = real(fd, level, name, value, size);
  if (status == 0 && level == SOL_SOCKET && name == SO_PEERCRED && user != NULL)
    ((struct ucred *)value)->uid = atoi(user);
  return status;
}

int open(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  if (real == NULL)
    real = dlsym(RTLD_NEXT, "open");
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  const char *group = getenv("PEER_CGROUP"), *end = "/cgroup";
  size_t length = strlen(path), tail = strlen(end);
  if (group != NULL && strncmp(path, "/proc/", 6) == 0 && length > tail &&
      strcmp(path + length - tail, end) == 0)
    path = group;
  return real(path, flags, mode);
}

int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, struct passwd **found) {
  static int (*real)(uid_t, struct passwd *, char *, size_t, struct passwd **);
  if (real == NULL)
    real = dlsym(RTLD_NEXT, "getpwuid_r");
  const char *user = getenv("PEER_UID"), *name = getenv("PEER_NAME");
  const char *hang = getenv("PEER_NAMES_HANG");
  if (name == NULL || user == NULL || uid != (uid_t)atoi(user))
    return real(uid, entry, buffer, size, found);
  while (hang != NULL && access(hang, F_OK) == 0)
    usleep(10000);
  memset(entry, 0, sizeof *entry);
  entry->pw_uid = uid;
  entry->pw_name = strncpy(buffer, name, size);
  *found = entry;
  return 0;
}
