// Linked into what is built with the address sanitizer, and into nothing else, with --wrap: the
// leak check where the daemon ends, and what it cannot know by itself.
#include <openssl/crypto.h>
#include <sanitizer/lsan_interface.h>
#include <string.h>

// The daemon ends with _exit(2), where the leak check that belongs to exit(3) does not run.
_Noreturn void __real__exit(int);
_Noreturn void __wrap__exit(int status) {
  __lsan_do_leak_check();
  __real__exit(status);
}

// dispatchMain(3) ends the daemon's first thread, and its stack is looked into no more: what that
// thread allocates before, once, is left out. A reload goes the same way on threads that count.
__attribute__((constructor)) static void leave_out_start(int count, char **words) {
  if (count > 1 && strcmp(words[1], "run") == 0) __lsan_disable();
}

// Keys, with pointers to the ordinary heap, are in OpenSSL's secure heap, somewhere around
// its first block. Weak, because the pure tests have no libcrypto.
#pragma weak CRYPTO_secure_malloc
#pragma weak CRYPTO_secure_free
__attribute__((weak)) int __real_CRYPTO_secure_malloc_init(size_t, size_t);
int __wrap_CRYPTO_secure_malloc_init(size_t bytes, size_t least) {
  int done = __real_CRYPTO_secure_malloc_init(bytes, least);
  void *first = CRYPTO_secure_malloc(least, __FILE__, __LINE__);
  if (done && first) __lsan_register_root_region((char *)first - bytes, 2 * bytes);
  CRYPTO_secure_free(first, __FILE__, __LINE__);
  return done;
}
